//! [`Documents`]: splits input into JSON documents as they arrive.

/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;

/// Splits bytes into JSON documents, of which it knows only where they end: an object or a list with its last
/// bracket, anything else with a space or line break.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    document: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Documents {
    /// Adds bytes, and returns the documents that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut complete = Vec::new();
        for &byte in bytes {
            if self.add(byte) {
                complete.push(std::mem::take(&mut self.document));
            }
        }
        match self.document.len() {
            0..=MAX_DOCUMENT => Ok(complete),
            _ => Err(format!("it has more than {} MiB", MAX_DOCUMENT >> 20)),
        }
    }

    /// Returns what follows the last complete document.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.document.is_empty()).then_some(self.document)
    }

    /// Adds a byte, and returns whether the document is complete.
    fn add(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.document.push(byte);
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    return self.depth == 0;
                }
                _ => {}
            }
            return false;
        }
        if byte.is_ascii_whitespace() {
            // Inside of a list or object, the space is kept for the columns of errors.
            if self.depth > 0 {
                self.document.push(byte);
                return false;
            }
            return !self.document.is_empty();
        }
        self.document.push(byte);
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn split(text: &str, size: usize) -> Vec<String> {
        let mut documents = Documents::default();
        let mut all = Vec::new();
        for bytes in text.as_bytes().chunks(size) {
            all.extend(documents.push(bytes).unwrap());
        }
        all.extend(documents.finish());
        all.into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }

    #[test]
    fn documents_end_where_they_end() {
        for (text, expected) in [
            ("", vec![]),
            (" \n\t", vec![]),
            ("{}", vec!["{}"]),
            (
                "{}{}\n{\"a\": [1, {}]}",
                vec!["{}", "{}", "{\"a\": [1, {}]}"],
            ),
            (
                r#"{"a":"}\"{"} "b\\" 7"#,
                vec![r#"{"a":"}\"{"}"#, r#""b\\""#, "7"],
            ),
            ("1 2\ntrue", vec!["1", "2", "true"]),
            ("{\n  \"a\": 1\n}\n", vec!["{\n  \"a\": 1\n}"]),
            ("{\"a\":", vec!["{\"a\":"]),
            ("} {}", vec!["}", "{}"]),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(split(text, size), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn a_document_is_returned_before_the_next_one_begins() {
        let mut documents = Documents::default();
        assert_eq!(documents.push(b"{\"a\":1}").unwrap().len(), 1);
        assert_eq!(documents.finish(), None);
    }
}
