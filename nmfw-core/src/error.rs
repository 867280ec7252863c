//! Errors of setting up and running: connecting, starting a server, closing.
//!
//! What a *call* returns is a `Status`, not this.

use std::error::Error as StdError;
use std::fmt;

/// Why connecting, starting or closing failed.
///
/// `Display` says what happened, to what, and what to do about it; the underlying cause is in
/// [`source`](StdError::source) and not repeated. `Debug` is the same text followed by the chain
/// of causes, so that `async fn main() -> Result<(), nmfw::Error>` ends with something readable.
/// Passwords and tokens are in neither.
///
/// Match on [`kind`](Error::kind), never on the text.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let error = nmfw::connect("http://localhost").await.unwrap_err();
/// assert_eq!(error.kind(), nmfw::ErrorKind::InvalidUrl);
/// # });
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What sort of thing went wrong, for a program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A server URL cannot be used: bad scheme, port or host, an empty list, a mix that is not
    /// possible.
    InvalidUrl,
    /// A NATS context does not exist, cannot be read or holds something that makes no sense.
    Context,
    /// A credentials file, seed or JWT cannot be read or is malformed.
    Credentials,
    /// No server could be reached.
    Connect,
    /// A server was reached and refused these credentials.
    Authorization,
    /// Certificates cannot be read, or the TLS handshake failed.
    Tls,
    /// The server does not allow publishing or subscribing to a subject that is needed.
    PermissionDenied,
    /// The server refused because of a limit, its own or that of the account or the user, such as
    /// `max_connections` or `max_subscriptions`. The message has its words.
    Limit,
    /// An option has a value that cannot work.
    InvalidConfig,
    /// Something was asked for that this build or version does not do.
    Unsupported,
    /// It did not happen within the time given.
    TimedOut,
    /// The connection is closed for good.
    Closed,
    /// None of the others.
    Other,
}

impl Error {
    /// A new error without a cause. The message must not hold secrets.
    #[doc(hidden)]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// Attaches what caused it.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of thing went wrong.
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

/// Returns what caused an error, one after the other. Many libraries print their source inside their
/// own text (async-nats does), which is not repeated.
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
        /// Prints its source, as some libraries do.
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
