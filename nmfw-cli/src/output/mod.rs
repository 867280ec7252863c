//! [`Output`]: the output of a command, and its exit status.

pub(crate) mod table;
pub(crate) mod text;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anstream::{AutoStream, ColorChoice};
use nmfw_core::escape::Escaped;
use serde::Serialize;

use crate::{
    arguments::Color,
    failure::{Exit, Failure},
};
use text::{CAUTION, ERROR, STRONG};

/// The longest error message that is shown, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Standard output and standard error. Texts have ANSI styles, which are removed where no colors are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    color: ColorChoice,
    json: bool,
}

impl Output {
    pub(crate) fn new(color: Color, json: bool) -> Self {
        let color = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        Self { color, json }
    }

    /// Returns whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether standard output has colors.
    pub(crate) fn is_colored(&self) -> bool {
        match self.color {
            ColorChoice::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            choice => choice != ColorChoice::Never,
        }
    }

    /// Returns whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Returns whether a person follows standard error.
    pub(crate) fn is_watched(&self) -> bool {
        io::stderr().is_terminal() && !self.json
    }

    /// Returns the width of the terminal, if standard output is one.
    pub(crate) fn width(&self) -> Option<usize> {
        let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
        Some(usize::from(width.0))
    }

    /// Prints a text on standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = AutoStream::new(io::stdout().lock(), self.color);
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// Prints bytes on standard output as they are.
    pub(crate) fn print_raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Prints a document as JSON.
    pub(crate) fn print_json(&self, document: &impl Serialize) -> Result<(), Failure> {
        self.print(&self.json(document)?)
    }

    /// Returns a document as JSON: indented for a terminal, otherwise on one line.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<String, Failure> {
        let text = match self.is_terminal() {
            true => serde_json::to_string_pretty(document),
            false => serde_json::to_string(document),
        };
        let text = text.map_err(|error| Failure::new("cannot write JSON").caused_by(&error))?;
        Ok(format!("{}\n", text::escape_json(&text)))
    }

    /// Prints a warning on standard error.
    pub(crate) fn warn(&self, text: &str) {
        let text = Escaped::up_to(text, MAX_MESSAGE);
        self.note(&format!(
            "{CAUTION}warning{CAUTION:#}{STRONG}:{STRONG:#} {text}\n"
        ));
    }

    /// Prints a text on standard error.
    pub(crate) fn note(&self, text: &str) {
        let mut stderr = AutoStream::new(io::stderr().lock(), self.color);
        // There is nothing to do if this fails.
        _ = stderr.write_all(text.as_bytes());
    }

    /// Prints a failure, and returns the exit status for it.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let exit = failure.status();
        if exit != Exit::Closed && !failure.message().is_empty() {
            match self.json {
                true => self.note(&json(failure)),
                false => self.note(&styled(failure)),
            }
        }
        ExitCode::from(exit.number())
    }
}

fn styled(failure: &Failure) -> String {
    let escaped = |text| Escaped::up_to(text, MAX_MESSAGE);
    let mut text = format!(
        "{ERROR}error{ERROR:#}{STRONG}:{STRONG:#} {}\n",
        escaped(failure.message())
    );
    for cause in failure.causes() {
        text.push_str(&format!("  caused by: {}\n", escaped(cause)));
    }
    for detail in failure.details() {
        text.push_str(&format!("  detail: {}\n", escaped(detail)));
    }
    if let Some(hint) = failure.advice() {
        text.push_str(&format!("  {STRONG}hint:{STRONG:#} {}\n", escaped(hint)));
    }
    text
}

/// A failure as JSON.
#[derive(Serialize)]
struct Document<'a> {
    error: &'a str,
    causes: &'a [String],
    details: &'a [String],
    hint: Option<&'a str>,
    exit: u8,
}

fn json(failure: &Failure) -> String {
    let document = Document {
        error: failure.message(),
        causes: failure.causes(),
        details: failure.details(),
        hint: failure.advice(),
        exit: failure.status().number(),
    };
    // Serializing texts does not fail.
    let text = serde_json::to_string(&document).unwrap_or_default();
    format!("{}\n", text::escape_json(&text))
}
