//! [`Status`]: the error of a call, for callers and handlers.

mod code;
mod convert;

use std::{borrow::Cow, error::Error as StdError, fmt, mem, panic::Location, sync::Arc};

use prost::{Message, Name};
use prost_types::Any;

pub use self::code::{Code, UnknownCode};
use crate::{Metadata, escape::Escaped};

/// Maximum length of a message, and of metadata, in logs and on terminals, in bytes.
const MAX_SHOWN: usize = 1024;

/// Maximum number of details in logs and on terminals.
const MAX_DETAILS: usize = 8;

/// The error of a call: a [`Code`], a message for people, and details for programs.
///
/// A handler returns a status to its caller, and the client receives the same one, including
/// details and metadata. It has the size of a pointer, so that `Result<T, Status>` stays small.
///
/// ```
/// use nmfw::{Code, Status};
///
/// fn parse(text: &str) -> Result<u8, Status> {
///     // Parse errors, I/O errors and others convert to a status with `?`.
///     let number: u8 = text.parse()?;
///     if number == 0 {
///         return Err(Status::out_of_range("zero is not a month"));
///     }
///     Ok(number)
/// }
///
/// assert_eq!(parse("zero").unwrap_err().code(), Code::InvalidArgument);
/// assert_eq!(parse("0").unwrap_err().message(), "zero is not a month");
/// ```
///
/// Implement `From<MyError> for Status` for your own error types to use `?` on them in a handler.
///
/// # What is sent to the caller
///
/// The code, message, details and metadata are sent to the caller, which may be untrusted; the
/// [source](Self::with_source) is not. Conversions by `?` therefore keep the text of an error only
/// if it describes a value that was parsed. I/O errors, panics of tasks, library errors and boxed
/// errors can reveal paths, hosts, tables or values: the caller gets their code and a neutral
/// message ("entity not found"), and the error itself becomes the source. The server logs the
/// source with the method, at `WARN` if the code blames the service (`UNKNOWN`, `INTERNAL`,
/// `UNAVAILABLE` and similar), otherwise at `DEBUG`. `{:?}` includes it, for instance in a test of
/// a handler. To send a text to callers, set it explicitly:
///
/// ```
/// use nmfw::Status;
///
/// fn load(path: &str) -> Result<String, Status> {
///     std::fs::read_to_string(path)
///         .map_err(|error| Status::not_found("there is no such report").with_source(error))
/// }
///
/// let status = load("/no/such/file").unwrap_err();
/// assert_eq!(status.to_string(), "NOT_FOUND: there is no such report");
/// assert!(format!("{status:?}").contains("NotFound"));
/// ```
#[derive(Clone)]
pub struct Status(Box<StatusInner>);

#[derive(Clone)]
struct StatusInner {
    code: Code,
    message: Cow<'static, str>,
    details: Vec<Any>,
    metadata: Metadata,
    not_started: bool,
    /// Whether the status was created with the code OK and its message does not name its origin
    /// yet.
    is_ok: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
            Self::new(Code::$code, message)
        })*
    };
}

impl Status {
    /// Creates a status with any code. The named constructors are more readable if the code is
    /// known.
    ///
    /// [`Code::Ok`] is replaced by `INTERNAL`: a successful call returns `Ok`, and an error with
    /// the code OK would be ambiguous. The message then names the origin of the status, and the
    /// source the line of code that created it.
    ///
    /// ```
    /// use nmfw::{Code, Status};
    ///
    /// let status = Status::new(Code::Ok, "done");
    /// assert_eq!(status.code(), Code::Internal);
    /// assert!(status.message().contains("code OK"));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        match code {
            Code::Ok => Self::made_of_ok(&message),
            code => Self::failure(code, message),
        }
    }

    fn failure(code: Code, message: Cow<'static, str>) -> Self {
        Self(Box::new(StatusInner {
            code,
            message,
            details: Vec::new(),
            metadata: Metadata::new(),
            not_started: false,
            is_ok: false,
            source: None,
        }))
    }

    /// Creates the status that replaces an error with the code OK, on all transports.
    #[cold]
    #[track_caller]
    fn made_of_ok(message: &str) -> Self {
        let mut text = "an error with the code OK, which means success".to_owned();
        if !message.is_empty() {
            text.push_str(": ");
            text.push_str(message);
        }
        let mut status = Self::failure(Code::Internal, text.into());
        status.0.is_ok = true;
        status.with_source(format!("the status was created at {}", Location::caller()))
    }

    /// Adds the origin of an error that was created with the code OK.
    #[must_use]
    #[doc(hidden)]
    pub fn returned_by(mut self, what: impl fmt::Display) -> Self {
        if mem::take(&mut self.0.is_ok) {
            self.0.message = format!("{what} returned {}", self.0.message).into();
        }
        self
    }

    constructors! {
        /// The caller cancelled the call. Rarely needed, because a cancelled handler is dropped.
        cancelled => Cancelled;
        /// An error without a more specific code.
        unknown => Unknown;
        /// The request is invalid, whatever the state of the system.
        invalid_argument => InvalidArgument;
        /// The deadline passed.
        deadline_exceeded => DeadlineExceeded;
        /// A requested entity does not exist.
        not_found => NotFound;
        /// An entity to be created already exists.
        already_exists => AlreadyExists;
        /// The caller is known but lacks the permission. Use `unauthenticated` if it is not known.
        permission_denied => PermissionDenied;
        /// A quota or capacity is exhausted.
        resource_exhausted => ResourceExhausted;
        /// The system is not in the required state, and a retry alone will not help.
        failed_precondition => FailedPrecondition;
        /// A concurrency conflict: the caller may start over.
        aborted => Aborted;
        /// A value is past the valid range.
        out_of_range => OutOfRange;
        /// The method, or this use of it, is not supported.
        unimplemented => Unimplemented;
        /// An invariant is broken.
        internal => Internal;
        /// The service is unavailable; a later retry may succeed.
        unavailable => Unavailable;
        /// Data is lost or corrupted permanently.
        data_loss => DataLoss;
        /// The caller is not authenticated.
        unauthenticated => Unauthenticated;
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the message for people. It may be empty. Foreign clients receive at most about 1 KiB
    /// of it; `nmfw` clients receive all of it.
    ///
    /// The message comes from a service, which may be faulty or hostile, and can contain line
    /// breaks and terminal control sequences. `Display` escapes these.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Replaces the message.
    #[doc(hidden)]
    pub fn with_message(mut self, message: String) -> Self {
        self.0.message = message.into();
        self
    }

    /// Adds a detail for programs, as in gRPC's [richer error
    /// model](https://grpc.io/docs/guides/error/#richer-error-model).
    ///
    /// `nmfw-build` implements the required [`Name`] for every generated message.
    #[must_use]
    pub fn with_detail<T: Message + Name>(mut self, detail: &T) -> Self {
        self.0.details.push(Any {
            type_url: T::type_url(),
            value: detail.encode_to_vec(),
        });
        self
    }

    /// Adds details that are already packed.
    #[must_use]
    pub fn with_details(mut self, details: impl IntoIterator<Item = Any>) -> Self {
        self.0.details.extend(details);
        self
    }

    /// Returns the details as received.
    #[must_use]
    pub fn details(&self) -> &[Any] {
        &self.0.details
    }

    /// Returns the first detail of type `T` that decodes.
    #[must_use]
    pub fn detail<T: Message + Name + Default>(&self) -> Option<T> {
        self.0.details.iter().find_map(|any| any.to_msg().ok())
    }

    /// Returns the metadata of the error.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// Returns the metadata of the error for modification.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.0.metadata
    }

    /// Attaches the error that caused this one. It is for local logs only: callers receive the
    /// code, message, details and metadata.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Marks the call as *not started*: no handler has seen it, and repeating it is safe even if
    /// the method is not idempotent. Clients resend such a call to another instance automatically.
    ///
    /// Middleware that refuses a call before the handler, such as a rate limit, may set it. It is
    /// removed from errors that a handler returns, because the handler has seen the call; the mark
    /// of a call that it made itself must not spread.
    #[must_use]
    pub fn not_started(mut self) -> Self {
        self.0.not_started = true;
        self
    }

    /// Removes the mark, because a handler has seen the call.
    #[must_use]
    #[doc(hidden)]
    pub fn started(mut self) -> Self {
        self.0.not_started = false;
        self
    }

    /// Returns whether it is certain that no handler has seen the call.
    #[must_use]
    pub fn is_not_started(&self) -> bool {
        self.0.not_started
    }
}

/// Formats the code and the message on one line, for logs and terminals. The message may come from
/// a peer, so control characters and terminal sequences are escaped, and at most 1 KiB is shown.
/// [`message`](Status::message) returns the original.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.name())?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", Escaped::up_to(&self.0.message, MAX_SHOWN))?;
        }
        Ok(())
    }
}

/// Formats like `Display`, followed by the other contents; details are listed with their types and
/// sizes. A `main` that returns the error prints it in this form.
impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        if self.0.not_started {
            f.write_str(" (not started)")?;
        }
        if !self.0.details.is_empty() {
            f.write_str(", details:")?;
            for detail in self.0.details.iter().take(MAX_DETAILS) {
                let (name, len) = (Escaped::new(&detail.type_url), detail.value.len());
                write!(f, " {name} ({len} bytes)")?;
            }
            if let Some(more) = self.0.details.len().checked_sub(MAX_DETAILS + 1) {
                write!(f, " and {} more", more + 1)?;
            }
        }
        if !self.0.metadata.is_empty() {
            let metadata = format!("{:?}", self.0.metadata);
            write!(f, ", metadata: {}", Escaped::up_to(&metadata, MAX_SHOWN))?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ", source: {source:?}")?;
        }
        Ok(())
    }
}

impl StdError for Status {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_large() {
        assert_eq!(size_of::<Status>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Status>>(), size_of::<usize>());
    }

    #[test]
    fn the_code_ok_becomes_an_error_that_says_what_returned_it() {
        let status = Status::new(Code::Ok, "done")
            .returned_by("a layer")
            .returned_by("another");
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(
            status.message(),
            "a layer returned an error with the code OK, which means success: done"
        );
        let made_at = StdError::source(&status).unwrap().to_string();
        assert!(made_at.contains(file!()), "{made_at}");
        let other = Status::internal("x").returned_by("a layer");
        assert_eq!(other.message(), "x");
    }

    #[test]
    fn what_a_peer_writes_is_escaped_and_cut_where_it_is_shown() {
        let text = "gone\n\u{1b}]0;x\u{7} \u{202e}".to_owned() + &"x".repeat(1 << 20);
        let mut status = Status::internal(text.clone()).with_details((0..100).map(|n| Any {
            type_url: format!("t/{n}\n"),
            value: vec![0; 1 << 16],
        }));
        status
            .metadata_mut()
            .insert("k", "v".repeat(1 << 15))
            .unwrap();
        let shown = status.to_string();
        assert!(
            shown.starts_with("INTERNAL: gone\\n\\u{1b}]0;x\\u{7} \\u{202e}xx"),
            "{shown}"
        );
        let debug = format!("{status:?}");
        assert!(
            debug.contains("t/7\\n (65536 bytes) and 92 more"),
            "{debug}"
        );
        for shown in [shown, debug] {
            assert!(
                shown.len() < 4096 && !shown.contains(char::is_control),
                "{shown}"
            );
        }
        assert_eq!(status.message(), text);
    }

    #[test]
    fn details_are_found_by_type() {
        let status = Status::internal("x").with_detail(&"hello".to_owned());
        assert_eq!(status.detail::<String>().as_deref(), Some("hello"));
        assert_eq!(status.detail::<u32>(), None);
    }
}
