//! Styles, and text from peers.

use std::fmt::Write;

use anstyle::{AnsiColor, Color, Effects, Style};
use nmfw_core::escape::{Escaped, acts};

pub(crate) const STRONG: Style = Style::new().effects(Effects::BOLD);
pub(crate) const FAINT: Style = Style::new().effects(Effects::DIMMED);
pub(crate) const NAME: Style = colored(AnsiColor::Cyan);
pub(crate) const GOOD: Style = colored(AnsiColor::Green);
pub(crate) const CAUTION: Style = colored(AnsiColor::Yellow).effects(Effects::BOLD);
pub(crate) const ERROR: Style = colored(AnsiColor::Red).effects(Effects::BOLD);

/// The longest text of a peer on a line, in bytes.
const MAX_PEER: usize = 120;

const fn colored(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// Returns a text of a peer without characters that act on a terminal, and cut.
pub(crate) fn peer(text: &str) -> String {
    Escaped::up_to(text, MAX_PEER).to_string()
}

/// Escapes what acts on a terminal in a text of several lines.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            _ if acts(c) => out.extend(c.escape_default()),
            _ => out.push(c),
        }
    }
    out
}

/// Escapes what acts on a terminal in a JSON document, whose strings may come from peers. The
/// document stays equal: such characters occur in strings only, where `\u` escapes mean the same.
pub(crate) fn escape_json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    let mut units = [0; 2];
    for c in document.chars() {
        if c != '\n' && acts(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Formats a count with its noun: `1 service`, `3 services`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn only_line_breaks_stay() {
        assert_eq!(
            lines("a\n\u{1b}[31m\t\u{202e}ä"),
            "a\n\\u{1b}[31m\\t\\u{202e}ä"
        );
    }

    #[test]
    fn json_stays_equal_and_does_nothing_to_a_terminal() {
        let hostile = "\u{1b}[31m\u{9b}\u{202e}\u{e0001}\u{7f} ok \"\\";
        let document = serde_json::json!({ "name": hostile });
        for text in [
            document.to_string(),
            serde_json::to_string_pretty(&document).unwrap(),
        ] {
            let escaped = escape_json(&text);
            assert!(!escaped.chars().any(|c| c != '\n' && acts(c)), "{escaped}");
            let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, document);
        }
    }
}
