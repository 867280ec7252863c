//! Errors of setup and shutdown: connecting, starting a server, closing.
//!
//! Calls return a `Status` instead.

use std::error::Error as StdError;
use std::fmt;

/// The error of connecting, starting or closing.
///
/// `Display` describes the problem, the affected item and, if possible, a remedy; the underlying
/// cause is in [`source`](StdError::source) and not repeated. `Debug` prints the same text followed
/// by the chain of causes, so that `async fn main() -> Result<(), nmfw::Error>` ends with a
/// readable message. Neither contains passwords or tokens.
///
/// Match on [`kind`](Error::kind), not on the text.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let error = nmfw::connect("http://localhost").await.unwrap_err();
/// assert_eq!(error.kind(), nmfw::ErrorKind::InvalidUrl);
/// # });
/// ```
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kind of an error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A server URL is invalid: a bad scheme, port or host, an empty list, or an impossible
    /// combination.
    InvalidUrl,
    /// A NATS context does not exist, cannot be read or has invalid content.
    Context,
    /// A credentials file, seed or JWT cannot be read or is malformed.
    Credentials,
    /// No server could be reached.
    Connect,
    /// A server was reached and refused these credentials.
    Authorization,
    /// Certificates cannot be read, or the TLS handshake failed.
    Tls,
    /// The server does not allow publishing or subscribing to a required subject.
    PermissionDenied,
    /// The server refused because of a limit of the server, account or user, such as
    /// `max_connections` or `max_subscriptions`. The message includes the server's text.
    Limit,
    /// An option has an invalid value.
    InvalidConfig,
    /// A feature that this build or version does not support was requested.
    Unsupported,
    /// The operation did not complete in time.
    TimedOut,
    /// The connection is closed permanently.
    Closed,
    /// Any other error.
    Other,
}

impl Error {
    /// Creates an error without a cause. The message must not contain secrets.
    #[doc(hidden)]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// Attaches the cause.
    #[doc(hidden)]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        causes(self)
            .iter()
            .try_for_each(|cause| write!(f, "\n  caused by: {cause}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// Returns the causes of an error. Many libraries, such as async-nats, include their source in
/// their own text, which is not repeated.
pub fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut causes = Vec::new();
    let mut shown = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !shown.contains(&text) {
            causes.push(text.clone());
        }
        shown = text;
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn is_one_pointer() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn display_leaves_the_source_out_and_debug_shows_the_chain_once() {
        let io = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        /// An error whose `Display` includes its source, as in some libraries.
        #[derive(Debug, thiserror::Error)]
        #[error("IO error: {0}")]
        struct Both(#[source] io::Error);
        let nats = Both(io);
        let error =
            Error::new(ErrorKind::Connect, "cannot connect to nats://x:4222").with_source(nats);
        assert_eq!(error.to_string(), "cannot connect to nats://x:4222");
        assert_eq!(
            format!("{error:?}"),
            "cannot connect to nats://x:4222\n  caused by: IO error: refused"
        );
    }
}
