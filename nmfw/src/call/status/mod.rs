//! [`Status`]: how a call ended, for caller and handler alike.

mod code;
mod convert;
#[cfg(test)]
mod marks;

use std::{borrow::Cow, error::Error as StdError, fmt, mem, panic::Location, sync::Arc};

use prost::{Message, Name};
use prost_types::Any;

pub use self::code::{Code, UnknownCode};
use crate::{Metadata, escape::Escaped};

/// What of a message, and of metadata, is shown in logs and on terminals, in bytes.
const MAX_SHOWN: usize = 1024;

/// Details that are named there.
const MAX_DETAILS: usize = 8;

/// Why a call failed: a [`Code`], a message for people, and details for programs.
///
/// A handler returns one to its caller; a client gets the same one back, details and metadata
/// included. It is one pointer large, so that `Result<T, Status>` stays small.
///
/// ```
/// use nmfw::{Code, Status};
///
/// fn parse(text: &str) -> Result<u8, Status> {
///     // Parse errors, I/O errors and the like become a status by `?`.
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
/// An error type of your own converts with `impl From<MyError> for Status`; then `?` works on it in
/// a handler.
///
/// # What a caller gets to read
///
/// Code, message, details and metadata go to the caller, who may be anybody; the
/// [source](Self::with_source) does not. So the conversions by `?` keep the text of an error only
/// where it speaks of a value that was parsed. I/O errors, panics of tasks, errors of libraries and
/// boxed errors can name paths, hosts, tables or values: of those the caller gets the code and a
/// neutral message ("entity not found"), and the error itself becomes the source. The server logs it
/// with the method, as `WARN` if the code blames the service (`UNKNOWN`, `INTERNAL`, `UNAVAILABLE`
/// and the like), else as `DEBUG`; `{:?}` shows it where the status was made, in a test of a handler,
/// for instance. A text that callers are to read is said on purpose:
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
pub struct Status(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    details: Vec<Any>,
    metadata: Metadata,
    not_started: bool,
    /// It was made with the code OK, and its message does not say yet what returned it.
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
    /// Makes a status of any code. The named constructors read better where the code is known.
    ///
    /// With [`Code::Ok`] it becomes `INTERNAL`: a call that succeeds returns `Ok`, and an error that
    /// says OK would be taken for an answer by one reader and for a failure by the next. The message
    /// says what returned it, and the source where it was made.
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
        Self(Box::new(Inner {
            code,
            message,
            details: Vec::new(),
            metadata: Metadata::new(),
            not_started: false,
            is_ok: false,
            source: None,
        }))
    }

    /// The one place that keeps the code OK out of errors, for all transports.
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
        status.with_source(format!("the status was made at {}", Location::caller()))
    }

    /// Says what returned an error that was made with the code OK.
    #[must_use]
    pub(crate) fn returned_by(mut self, what: impl fmt::Display) -> Self {
        if mem::take(&mut self.0.is_ok) {
            self.0.message = format!("{what} returned {}", self.0.message).into();
        }
        self
    }

    constructors! {
        /// The caller gave up. Rarely built by hand: a cancelled handler is dropped.
        cancelled => Cancelled;
        /// An error that fits nowhere else.
        unknown => Unknown;
        /// The request itself is wrong, whatever the state of the system.
        invalid_argument => InvalidArgument;
        /// There was not time enough.
        deadline_exceeded => DeadlineExceeded;
        /// What was asked for does not exist.
        not_found => NotFound;
        /// What was to be created exists already.
        already_exists => AlreadyExists;
        /// The caller is known and may not do this. Use `unauthenticated` if it is not known.
        permission_denied => PermissionDenied;
        /// A quota or a capacity is used up.
        resource_exhausted => ResourceExhausted;
        /// The system is not in the state that the call needs, and a retry alone will not help.
        failed_precondition => FailedPrecondition;
        /// A concurrency conflict: the caller may start over.
        aborted => Aborted;
        /// Past the end of what there is.
        out_of_range => OutOfRange;
        /// The method, or this use of it, is not supported.
        unimplemented => Unimplemented;
        /// An invariant is broken.
        internal => Internal;
        /// Cannot be served now; a later try may succeed.
        unavailable => Unavailable;
        /// Data is lost or corrupt for good.
        data_loss => DataLoss;
        /// The caller did not say, or could not prove, who it is.
        unauthenticated => Unauthenticated;
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message for people. It may be empty, and is at most about 1 KiB once it has crossed the
    /// wire to a foreign client; `nmfw` clients get it whole.
    ///
    /// A service has written it, which may be broken or hostile: it can have line breaks and what acts on
    /// a terminal. `Display` shows it with these escaped.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Says more in the message, and keeps all else.
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.0.message = message.into();
        self
    }

    /// Adds a detail for programs to read, as gRPC's
    /// [richer error model](https://grpc.io/docs/guides/error/#richer-error-model) does.
    ///
    /// `nmfw-build` gives every generated message the [`Name`] that this needs.
    #[must_use]
    pub fn with_detail<T: Message + Name>(mut self, detail: &T) -> Self {
        self.0.details.push(Any {
            type_url: T::type_url(),
            value: detail.encode_to_vec(),
        });
        self
    }

    /// Adds details that are packed already.
    #[must_use]
    pub fn with_details(mut self, details: impl IntoIterator<Item = Any>) -> Self {
        self.0.details.extend(details);
        self
    }

    /// The details as they came.
    #[must_use]
    pub fn details(&self) -> &[Any] {
        &self.0.details
    }

    /// The first detail of type `T` that decodes.
    #[must_use]
    pub fn detail<T: Message + Name + Default>(&self) -> Option<T> {
        self.0.details.iter().find_map(|any| any.to_msg().ok())
    }

    /// Metadata that travels with the error.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// Metadata that travels with the error, to add to.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.0.metadata
    }

    /// Remembers the error that led to this one. It stays on this side of the wire, for logs:
    /// callers see code, message, details and metadata only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Marks the call as *not started*: no handler has seen it, and repeating it is safe even for
    /// methods that are not idempotent. A client sends such a call to another instance by itself.
    ///
    /// Middleware that turns a call away before the handler (a rate limit, say) may set it. What a
    /// handler itself returns never has it, as that handler has seen the call: the flag of a call
    /// that it made in turn goes no further.
    #[must_use]
    pub fn not_started(mut self) -> Self {
        self.0.not_started = true;
        self
    }

    /// Takes the mark away: a handler has seen the call after all.
    #[must_use]
    pub(crate) fn started(mut self) -> Self {
        self.0.not_started = false;
        self
    }

    /// Whether it is certain that no handler has seen the call.
    #[must_use]
    pub fn is_not_started(&self) -> bool {
        self.0.not_started
    }
}

/// The code and the message, on one line and fit for logs and terminals: the message may be a peer's, so
/// that control characters and others that act on a terminal are escaped, and that at most 1 KiB of it is
/// shown. [`message`](Status::message) has it as it came.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.name())?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", Escaped::up_to(&self.0.message, MAX_SHOWN))?;
        }
        Ok(())
    }
}

/// The text of `Display`, and behind it what else there is, of details their types and sizes: a `main`
/// that returns the error prints this.
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
