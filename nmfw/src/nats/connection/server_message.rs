//! Interpretation of `-ERR`. nats-server sends only texts, which async-nats forwards.

use super::violation::Violation;

/// The meaning of an error from the NATS server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerMessage {
    /// A subject is not permitted. The connection stays open.
    Violation(Violation),
    /// An unspecified subscription was refused. The connection stays open.
    TooManySubscriptions,
    /// A message exceeded the limit of the account or the user. The server closes the connection.
    PayloadTooLarge,
    /// The server closes the connection: a connection limit, an expired or revoked login, a stale
    /// connection, or unknown reasons of later versions.
    Closing,
    /// A single command failed. The connection stays open.
    Other,
}

impl ServerMessage {
    /// Parses the text of an `-ERR`, ignoring case.
    pub(super) fn parse(text: &str) -> Self {
        if let Some(violation) = Violation::parse(text) {
            return Self::Violation(violation);
        }
        match text.trim().to_ascii_lowercase().as_str() {
            "maximum subscriptions exceeded" => Self::TooManySubscriptions,
            "maximum payload violation" => Self::PayloadTooLarge,
            "invalid subject" | "invalid publish subject" => Self::Other,
            // Violations with new texts do not close the connection either.
            text if text.starts_with("permissions violation") => Self::Other,
            _ => Self::Closing,
        }
    }
}

/// Returns whether a subscription was refused because its subject has too many tokens, which the
/// server reports like a missing permission.
pub(crate) fn is_token_limit(words: &str) -> bool {
    let words = words.trim_end().to_ascii_lowercase();
    words.ends_with("\", too many tokens")
}

/// Returns whether a connection was refused because of a limit, which may be free again later.
pub(super) fn is_limit(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("maximum") || words.contains("throttling")
}

/// Returns the server's message in the last error that async-nats keeps for a server it could not
/// connect to.
pub(super) fn words(last_error: &str) -> Option<&str> {
    // Only `ServerError` begins like this, not errors of the operating system or of TLS.
    last_error
        .rsplit_once("nats: ")
        .map(|(_, words)| words.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words() {
        for (text, meaning) in [
            (
                "maximum subscriptions exceeded",
                ServerMessage::TooManySubscriptions,
            ),
            ("Maximum Payload Violation", ServerMessage::PayloadTooLarge),
            ("maximum connections exceeded", ServerMessage::Closing),
            (
                "maximum account active connections exceeded",
                ServerMessage::Closing,
            ),
            ("User Authentication Expired", ServerMessage::Closing),
            ("User Authentication Revoked", ServerMessage::Closing),
            ("Account Authentication Expired", ServerMessage::Closing),
            ("Authentication Timeout", ServerMessage::Closing),
            ("Stale Connection", ServerMessage::Closing),
            ("Invalid Subject", ServerMessage::Other),
            (
                "Permissions Violation for Something New",
                ServerMessage::Other,
            ),
        ] {
            assert_eq!(ServerMessage::parse(text), meaning, "{text}");
        }
        assert!(matches!(
            ServerMessage::parse(r#"Permissions Violation for Publish to "a""#),
            ServerMessage::Violation(_)
        ));
    }

    #[test]
    fn a_limit_of_tokens_is_no_missing_permission() {
        let words = r#"Permissions Violation for Subscription to "a.b.c", too many tokens"#;
        assert!(is_token_limit(words));
        let violation = Violation::Subscribe {
            subject: "a.b.c".to_owned(),
            queue: None,
        };
        assert_eq!(
            ServerMessage::parse(words),
            ServerMessage::Violation(violation)
        );
        assert!(!is_token_limit(
            r#"Permissions Violation for Subscription to "a, too many tokens""#
        ));
    }

    #[test]
    fn the_words_of_a_failed_attempt() {
        let error = async_nats::ServerError::Other("maximum connections exceeded".to_owned());
        let error = async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, error);
        assert_eq!(
            words(&error.to_string()),
            Some("maximum connections exceeded")
        );
        assert_eq!(words("IO error: Connection refused (os error 111)"), None);
    }
}
