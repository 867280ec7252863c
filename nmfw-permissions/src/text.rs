//! Quoting, so that names cannot break out of their quotes.

/// Quotes a text for nats-server's configuration.
pub(crate) fn config(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Quotes a word of a command for `sh`.
pub(crate) fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Quotes a value for those options of `nsc` that take lists.
pub(crate) fn csv(value: &str) -> String {
    if value.contains([',', '"']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_the_quotes_does_not() {
        assert_eq!(config(r#"a"\b"#), r#""a\"\\b""#);
        assert_eq!(shell("a'b $c"), r"'a'\''b $c'");
        assert_eq!(csv(r#"a,"b"#), r#""a,""b""#);
        assert_eq!(csv("$SRV.PING q"), "$SRV.PING q");
    }
}
