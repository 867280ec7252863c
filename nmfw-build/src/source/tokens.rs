//! Splits a `.proto` file into tokens.

/// A piece of source that is neither white space nor comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    /// The offset of its first byte.
    pub(crate) start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An identifier or a keyword.
    Word,
    Number,
    /// A string, with its quotes.
    Text,
    /// One character of punctuation.
    Symbol,
}

impl<'a> Token<'a> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != TokenKind::Text && self.text == text
    }

    /// Returns the value of a whole number.
    pub(crate) fn integer(&self) -> Option<u64> {
        if self.kind != TokenKind::Number {
            return None;
        }
        let (digits, radix) = match self.text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&self.text[2..], 16),
            [b'0', _, ..] => (&self.text[1..], 8),
            _ => (self.text, 10),
        };
        u64::from_str_radix(digits, radix).ok()
    }

    /// Returns the text between the quotes. Escapes stay as they are.
    pub(crate) fn unquoted(&self) -> Option<&'a str> {
        let inner = self.text.get(1..self.text.len().checked_sub(1)?)?;
        (self.kind == TokenKind::Text).then_some(inner)
    }
}

/// Returns all tokens. Invalid source also produces tokens, and the parser reports the error.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if let Some(length) = comment(rest) {
            at += length;
            continue;
        }
        let (kind, length) = match first {
            'a'..='z' | 'A'..='Z' | '_' => (TokenKind::Word, length_while(rest, is_word)),
            '0'..='9' => (TokenKind::Number, number(rest)),
            '"' | '\'' => (TokenKind::Text, text(rest)),
            _ => (TokenKind::Symbol, first.len_utf8()),
        };
        tokens.push(Token {
            kind,
            text: &rest[..length],
            start: at,
        });
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn length_while(source: &str, matches: impl Fn(char) -> bool) -> usize {
    source.find(|c| !matches(c)).unwrap_or(source.len())
}

/// Returns the length of the comment at the start.
fn comment(source: &str) -> Option<usize> {
    if source.starts_with("//") {
        return Some(source.find('\n').unwrap_or(source.len()));
    }
    let inside = source.strip_prefix("/*")?;
    let length = inside
        .find("*/")
        .map_or(inside.len(), |end| end + "*/".len());
    Some("/*".len() + length)
}

fn number(source: &str) -> usize {
    let is_hex = source.starts_with("0x") || source.starts_with("0X");
    let mut before = ' ';
    let end = source.find(|c| {
        let is_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex;
        before = c;
        !(is_word(c) || c == '.' || is_sign)
    });
    end.unwrap_or(source.len())
}

/// Returns the length of the string at the start. It ends with its line at the latest.
fn text(source: &str) -> usize {
    let mut chars = source.char_indices();
    let Some((_, quote)) = chars.next() else {
        return 0;
    };
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\n' => return at,
            _ if c == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_hide_what_is_in_them() {
        let source = "a /* b \"c */ d // e\n'f \\' // g' = -1.5e-3; 0x1F";
        let found = tokens(source);
        let texts: Vec<&str> = found.iter().map(|token| token.text).collect();
        assert_eq!(
            texts,
            ["a", "d", "'f \\' // g'", "=", "-", "1.5e-3", ";", "0x1F"]
        );
        assert_eq!(found[7].integer(), Some(31));
        assert_eq!(found[2].unquoted(), Some("f \\' // g"));
        for token in found {
            assert_eq!(&source[token.start..token.end()], token.text);
        }
    }

    #[test]
    fn what_does_not_end_ends_with_the_source() {
        for (source, count) in [("/* a", 0), ("\"a", 1), ("\"a\nb", 2), ("'\\", 1), ("", 0)] {
            assert_eq!(tokens(source).len(), count, "for {source:?}");
        }
    }
}
