//! What can go wrong in a build, and the report the user of `cargo build` sees.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use prost_reflect::DescriptorError;

use crate::reason::Reason;

/// Why no code was generated.
///
/// A build script that returns it from `main` shows its [`Debug`] form, so that is the report for people: file, line and
/// the faulty source, or the list of everything that is wrong with the services. [`Display`](fmt::Display) is one line
/// without the cause, which is the error's source.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let proto = dir.path().join("broken.proto");
/// std::fs::write(&proto, "syntax = \"proto3\";\nmesage Sum {}\n")?;
/// let error = nmfw_build::compile_protos(&[proto], &[dir.path()]).unwrap_err();
/// assert_eq!(error.to_string(), "the .proto files do not compile");
/// assert!(format!("{error:?}").contains("--> broken.proto:2:1"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Error {
    kind: Box<Kind>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error("the .proto files do not compile")]
    Protobuf {
        source: protox::Error,
        reason: Reason,
    },
    #[error("the descriptor set cannot be used")]
    DescriptorSet(#[source] DescriptorError),
    #[error("the descriptor set cannot be used: {what}")]
    BrokenSet { what: String },
    #[error("{}", count(.0))]
    Problems(Vec<Problem>),
    #[error("{what}")]
    Config { what: String },
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no code could be generated: {what}")]
    Generate { what: String },
}

/// One thing that is wrong with a service or a message, in terms of the `.proto`.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) what: String,
    pub(crate) help: String,
}

/// Where a problem is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// Line and column, from 1; descriptor sets may lack them.
    pub(crate) position: Option<(i32, i32)>,
    /// Empty for what is in no service.
    pub(crate) service: String,
    pub(crate) method: Option<String>,
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "1 problem in the .proto files".to_owned(),
        n => format!("{n} problems in the .proto files"),
    }
}

impl Error {
    pub(crate) fn config(what: impl Into<String>) -> Self {
        Kind::Config { what: what.into() }.into()
    }

    pub(crate) fn set(what: String) -> Self {
        Kind::BrokenSet { what }.into()
    }

    pub(crate) fn generate(what: impl Into<String>) -> Self {
        Kind::Generate { what: what.into() }.into()
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Kind::Io {
            action,
            path: path.to_owned(),
            source,
        }
        .into()
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self {
            kind: Box::new(kind),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{self}")?;
        match &*self.kind {
            Kind::Protobuf { source, reason } => {
                diagnostic(f, source)?;
                if let Some(cause) = &reason.cause {
                    writeln!(f, "  = cause: {cause}")?;
                }
                if let Some(help) = &reason.help {
                    writeln!(f, "  = help: {help}")?;
                }
                if source.is_file_not_found() {
                    f.write_str("  = help: files and their imports have to be in one of the include folders\n")?;
                }
                Ok(())
            }
            Kind::DescriptorSet(error) => diagnostic(f, error),
            Kind::Problems(problems) => problems
                .iter()
                .try_for_each(|problem| write!(f, "\n{problem}")),
            Kind::Io { source, .. } => writeln!(f, "  = cause: {source}"),
            Kind::BrokenSet { .. } | Kind::Config { .. } | Kind::Generate { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, help } = self;
        writeln!(f, "error: {what}")?;
        write!(f, "  --> {}", place.file)?;
        if let Some((line, column)) = place.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_char('\n')?;
        if !place.service.is_empty() {
            write!(f, "  = in service `{}`", place.service)?;
            if let Some(method) = &place.method {
                write!(f, ", method `{method}`")?;
            }
            f.write_char('\n')?;
        }
        if help.is_empty() {
            Ok(())
        } else {
            writeln!(f, "  = help: {help}")
        }
    }
}

/// Writes a diagnostic the way rustc does: the message, then each place with its line and a caret.
fn diagnostic(f: &mut fmt::Formatter<'_>, error: &dyn Diagnostic) -> fmt::Result {
    writeln!(f, "\nerror: {error}")?;
    let mut editions = false;
    for label in error.labels().into_iter().flatten() {
        // With a line around it: without, miette gives what is labelled and not the line it is on.
        let source = error.source_code();
        let found = source.and_then(|code| code.read_span(label.inner(), 1, 1).ok());
        let Some(found) = found else { continue };
        let offset = label.offset().saturating_sub(found.span().offset());
        let (before, after) = found.data().split_at_checked(offset).unwrap_or_default();
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let end = after
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(after.len());
        let head = printable(&before[start..]);
        let tail = printable(&after[..end]);
        let tail = tail.trim_end();

        let number = found.line() + before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let number = number.to_string();
        let column = head.chars().count();
        // A span may go over several lines; the caret stays on its first.
        let width = label.len().min(tail.chars().count()).max(1);
        let gutter = number.len();
        let name = found.name().unwrap_or("(no name)");
        writeln!(f, "{:gutter$}--> {name}:{number}:{}", "", column + 1)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {head}{tail}")?;
        let text = label.label().unwrap_or_default();
        let caret = format!("{:column$}{} {text}", "", "^".repeat(width));
        writeln!(f, "{:gutter$} | {}", "", caret.trim_end())?;
        editions |= format!("{head}{tail}").trim_start().starts_with("edition");
    }
    if let Some(help) = error.help() {
        writeln!(f, "  = help: {help}")?;
    }
    if editions {
        writeln!(
            f,
            "  = help: editions are not supported yet; write `syntax = \"proto3\";` instead"
        )?;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        writeln!(f, "  = cause: {cause}")?;
        source = cause.source();
    }
    for related in error.related().into_iter().flatten() {
        diagnostic(f, related)?;
    }
    Ok(())
}

/// Source as it can stand above a caret: a tab is as wide as any other character.
fn printable(source: &[u8]) -> String {
    String::from_utf8_lossy(source).replace('\t', " ")
}
