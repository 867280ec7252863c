//! The error of a build, and the report that `cargo build` shows.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use prost_reflect::DescriptorError;

use crate::fault::{Fault, Source};

/// The reason why no code was generated.
///
/// A build script that returns it from `main` prints its [`Debug`] form, which is therefore the
/// report for users: file, line and the faulty source, or the list of all problems of the services.
/// [`Display`](fmt::Display) is one line without the cause, which is the error's source.
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
    Protobuf(#[source] Box<Fault>),
    #[error("the descriptor set cannot be used")]
    DescriptorSet(#[source] Box<Fault>),
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
    #[error("cannot generate code: {what}")]
    Generate { what: String },
}

/// A problem of a service or a message, in terms of the `.proto`.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) what: String,
    pub(crate) help: String,
}

/// The place of a problem.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// Line and column, from 1; descriptor sets may lack them.
    pub(crate) position: Option<(i32, i32)>,
    /// Empty for problems outside of services.
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

    /// Returns the error for a descriptor set whose files are inconsistent.
    pub(crate) fn contradiction(error: &DescriptorError) -> Self {
        let source = Source {
            file: error.file().unwrap_or_default().to_owned(),
            text: None,
        };
        let mut fault = Fault::from_diagnostic(error, &source, &|offset| offset);
        if let Some(file) = error.file() {
            // Without source information there is no line.
            let place = error.line().zip(error.column());
            let place = place.map(|(line, column)| format!(":{}:{}", line + 1, column + 1));
            fault = fault.note(format!("in {file}{}", place.unwrap_or_default()));
        }
        Kind::DescriptorSet(fault).into()
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

impl From<Box<Fault>> for Error {
    fn from(fault: Box<Fault>) -> Self {
        Kind::Protobuf(fault).into()
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
            Kind::Protobuf(fault) | Kind::DescriptorSet(fault) => fault.report(f),
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
