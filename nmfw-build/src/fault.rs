//! A fault in a `.proto` file, with its place in the source.

use std::fmt::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use miette::Diagnostic;

/// The reason why files do not compile: a message, its places, and hints.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) source: Source,
    labels: Vec<Label>,
    pub(crate) cause: Option<String>,
    /// Additional facts.
    pub(crate) notes: Vec<String>,
    pub(crate) help: Vec<String>,
    /// Set where protoc may accept the file.
    pub(crate) is_limit: bool,
    related: Vec<Fault>,
}

/// The faulty file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) file: String,
    /// The content, if known. Files of a descriptor set have none.
    pub(crate) text: Option<Arc<str>>,
}

#[derive(Debug)]
struct Label {
    text: String,
    range: Range<usize>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            message: message.into(),
            ..Self::default()
        })
    }

    /// Converts an error of the parser or of the pool. `original` maps its places to offsets in
    /// `source`.
    pub(crate) fn from_diagnostic(
        error: &dyn Diagnostic,
        source: &Source,
        original: &dyn Fn(usize) -> usize,
    ) -> Box<Self> {
        let labels = error.labels().into_iter().flatten().map(|label| Label {
            text: label.label().unwrap_or_default().to_owned(),
            range: original(label.offset())..original(label.offset() + label.len()),
        });
        let related = error.related().into_iter().flatten();
        Box::new(Self {
            message: error.to_string(),
            source: source.clone(),
            labels: labels.collect(),
            cause: error.source().map(ToString::to_string),
            help: error
                .help()
                .map(|help| help.to_string())
                .into_iter()
                .collect(),
            related: related
                .map(|error| *Self::from_diagnostic(error, source, original))
                .collect(),
            ..Self::default()
        })
    }

    pub(crate) fn at(
        mut self: Box<Self>,
        source: &Source,
        range: Range<usize>,
        text: &str,
    ) -> Box<Self> {
        self.source = source.clone();
        self.labels.push(Label {
            text: text.to_owned(),
            range,
        });
        self
    }

    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help.push(help.into());
        self
    }

    pub(crate) fn note(mut self: Box<Self>, note: impl Into<String>) -> Box<Self> {
        self.notes.push(note.into());
        self
    }

    /// Writes the report in the style of rustc: the message, then each place with its line and a
    /// caret.
    pub(crate) fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nerror: {}", self.message)?;
        if let Some(text) = &self.source.text {
            for label in &self.labels {
                label.report(f, &self.source.file, text)?;
            }
        }
        if let Some(cause) = &self.cause {
            writeln!(f, "  = cause: {cause}")?;
        }
        for note in &self.notes {
            writeln!(f, "  = note: {note}")?;
        }
        for help in &self.help {
            writeln!(f, "  = help: {help}")?;
        }
        self.related.iter().try_for_each(|fault| fault.report(f))
    }
}

impl Label {
    fn report(&self, f: &mut fmt::Formatter<'_>, file: &str, text: &str) -> fmt::Result {
        let start = floor(text, self.range.start);
        let end = floor(text, self.range.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let head = printable(&text[line_start..start]);
        let line = printable(&text[line_start..line_end]);
        let line = line.trim_end();

        let number = (text[..start].matches('\n').count() + 1).to_string();
        let column = head.chars().count();
        // A place may span several lines; the caret stays on the first.
        let width = text[start..end.min(line_end)].trim_end().chars().count();
        let gutter = number.len();
        writeln!(f, "{:gutter$}--> {file}:{number}:{}", "", column + 1)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {line}")?;
        let mut caret = String::new();
        write!(
            caret,
            "{:column$}{} {}",
            "",
            "^".repeat(width.max(1)),
            self.text
        )?;
        writeln!(f, "{:gutter$} | {}", "", caret.trim_end())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Returns the offset, or the nearest preceding one on a character boundary.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Replaces tabs in source by spaces, so that a caret below it lines up.
fn printable(source: &str) -> String {
    source.replace('\t', " ")
}
