//! Text of a schema in findings. A schema can come from a peer, and findings go to terminals.

/// The maximum number of characters of a name in a finding.
const MAX_CHARS: usize = 256;

/// Returns the text without control characters, shortened to [`MAX_CHARS`].
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == MAX_CHARS {
            shown.push('…');
            break;
        }
        if char.is_control() || reorders(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Whether the character changes the order or visibility of others, or starts a line.
const fn reorders(char: char) -> bool {
    matches!(
        char,
        '\u{061c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// Returns "`a`, `b` and `c`"; at most 10 of the names.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const MAX_NAMES: usize = 10;
    let mut words: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| format!("`{}`", shown(name.as_ref())))
        .collect();
    if names.len() > MAX_NAMES {
        words.push(format!("{} more", names.len() - MAX_NAMES));
    }
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_CHARS, list, shown};

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(shown("größe"), "größe");
    }

    #[test]
    fn long_names_are_shortened() {
        let name = "é".repeat(MAX_CHARS);
        assert_eq!(shown(&name), name);
        assert_eq!(shown(&format!("{name}x")), format!("{name}…"));
    }

    #[test]
    fn names_are_listed_in_words() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b"]), "`a` and `b`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert!(list(&many).ends_with("`9` and 2 more"));
    }
}
