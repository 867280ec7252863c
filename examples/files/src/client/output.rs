//! What commands print.

use std::io::{self, Write};

use crate::{files::FileInfo, names};

/// Prints a line. Fails, other than `println!`, when nobody reads any more, as before `head`.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a line that is for people only.
pub(super) fn note(text: impl std::fmt::Display) {
    // Nothing can be done about it if that fails.
    _ = writeln!(io::stderr().lock(), "{}", plain(&text.to_string()));
}

/// Without what could have several lines, or fool a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A name as it can be printed: what a service sends could fool a terminal.
pub(super) fn name(file: &FileInfo) -> String {
    match names::check(&file.name) {
        Ok(()) => file.name.clone(),
        Err(_) => format!("{:?}", file.name),
    }
}
