//! [`Failure`]: why a command ends without success.

use std::{error::Error, fmt, io};

use nmfw::{Code, ErrorKind};

/// The exit statuses, which `nmfw --help` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Standard output was closed by its reader, as `head` does. Not an error.
    Closed,
    /// An error without a more specific status.
    Other,
    /// The NATS server cannot be reached, or refuses the connection.
    Unconnected,
    /// No service, method or instance has this name.
    NotFound,
    /// The command ran and found problems.
    Findings,
    /// A call ended with this code.
    Status(Code),
}

impl Exit {
    /// Returns the status of the process. Those of calls are grpcurl's.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Other => 1,
            Self::Unconnected => 3,
            Self::NotFound => 4,
            Self::Findings => 5,
            Self::Status(code) => u8::try_from(64 + code.number()).unwrap_or(1),
        }
    }
}

/// An error for the user: what happened, its causes, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    causes: Vec<String>,
    details: Vec<String>,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            details: Vec::new(),
            hint: None,
            exit: Exit::Other,
        }
    }

    /// Adds an error and its sources as causes.
    pub(crate) fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        self.causes.push(error.to_string());
        self.causes.extend(nmfw_core::error::causes(error));
        self
    }

    /// Adds a line about the error.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Sets the advice, which follows the message on a line of its own.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn status(&self) -> Exit {
        self.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn causes(&self) -> &[String] {
        &self.causes
    }

    pub(crate) fn details(&self) -> &[String] {
        &self.details
    }

    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new("standard output is closed").exit(Exit::Closed);
        }
        Self::new("cannot write to standard output").caused_by(&error)
    }
}

/// An error of a connection.
impl From<nmfw::Error> for Failure {
    fn from(error: nmfw::Error) -> Self {
        let mut failure = Self::new(error.to_string());
        failure.causes = nmfw_core::error::causes(&error);
        let (exit, hint) = match error.kind() {
            ErrorKind::Connect | ErrorKind::TimedOut | ErrorKind::Closed => (
                Exit::Unconnected,
                "name another server with --server URL or --context NAME, or start one to try things \
                 out: `nmfw broker`",
            ),
            ErrorKind::Authorization => (
                Exit::Unconnected,
                "log in with credentials: --context NAME, or a user and password in $NATS_URL",
            ),
            ErrorKind::Tls => (
                Exit::Unconnected,
                "set the certificates in a context: `nats context edit`, then --context NAME",
            ),
            ErrorKind::PermissionDenied | ErrorKind::Limit => (Exit::Unconnected, ""),
            ErrorKind::InvalidUrl => (
                Exit::Other,
                "a server is host, host:4222, nats://user:password@host or tls://host",
            ),
            _ => (Exit::Other, ""),
        };
        failure.exit = exit;
        if !hint.is_empty() {
            failure.hint = Some(hint.to_owned());
        }
        failure
    }
}
