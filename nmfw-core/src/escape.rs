//! [`Escaped`]: text from peers, formatted for log lines and terminals.

use std::fmt::{self, Write};

/// Default maximum length of displayed text in bytes; the rest is left out.
const MAX_LEN: usize = 256;

/// Formats a text on one line, without characters that control a terminal or reorder text: control
/// characters, line separators and bidirectional marks are escaped as in Rust. At most `max` bytes
/// of the text are shown, followed by the number of bytes left out.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> Escaped<'a> {
    /// Shows at most 256 bytes, for a field of a log line.
    pub fn new(text: &'a str) -> Self {
        Self::up_to(text, MAX_LEN)
    }

    /// Shows the whole text.
    pub fn whole(text: &'a str) -> Self {
        Self::up_to(text, usize::MAX)
    }

    /// Shows at most `max` bytes.
    pub fn up_to(text: &'a str, max: usize) -> Self {
        Self { text, max }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = cut(self.text, self.max);
        // Nearly all texts need no escaping.
        if shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            f.write_str(shown)?;
        } else {
            for c in shown.chars() {
                if acts(c) {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
        }
        match self.text.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "... ({more} more bytes)"),
        }
    }
}

/// Returns a prefix of a text of at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    // `floor_char_boundary` of std requires a newer Rust than the minimum supported version.
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns whether a character affects the display beyond itself.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_is_long_is_cut() {
        for (text, shown) in [
            ("plain ~", "plain ~"),
            ("ä 日本 👩\u{200d}🔧", "ä 日本 👩\u{200d}🔧"),
            ("a\nb\r\t\u{1b}[31m", "a\\nb\\r\\t\\u{1b}[31m"),
            ("\u{85}\u{9b}\u{7f}\0", "\\u{85}\\u{9b}\\u{7f}\\u{0}"),
            ("\u{202e}cba\u{2066}", "\\u{202e}cba\\u{2066}"),
        ] {
            assert_eq!(Escaped::new(text).to_string(), shown);
        }
        let long = "ä".repeat(1000);
        let shown = Escaped::up_to(&long, 5).to_string();
        assert_eq!(shown, "ää... (1996 more bytes)");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_shown(text in ".*\\p{C}*.*", max in 0..100_usize) {
            let shown = Escaped::up_to(&text, max).to_string();
            prop_assert!(!shown.chars().any(acts), "{shown:?}");
            prop_assert!(shown.len() <= max * 10 + 40);
        }
    }
}
