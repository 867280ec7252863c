//! How texts are quoted, so that whatever a name holds stays within its quotes.

/// A text in nats-server's configuration.
pub(crate) fn config(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word of a command for `sh`.
pub(crate) fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// One value of those options of `nsc` that take lists.
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
