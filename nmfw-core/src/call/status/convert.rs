//! Conversions from common errors for `?`, and from the boxed errors of tower's layers.
//!
//! The text of an error is sent to the caller only if it describes a value that was parsed. Other
//! texts can reveal internals of the service: see [`Status`].

use std::{error::Error as StdError, io, iter};

use tokio::task::JoinError;

use super::{Code, Status};

/// Errors whose text is sent to the caller.
macro_rules! shown {
    ($($error:ty => $constructor:ident;)*) => {
        $(impl From<$error> for Status {
            fn from(error: $error) -> Self {
                Self::$constructor(error.to_string()).with_source(error)
            }
        })*
    };
}

/// Errors whose text goes to the log only.
macro_rules! hidden {
    ($($error:ty => $constructor:ident($text:literal);)*) => {
        $(impl From<$error> for Status {
            fn from(error: $error) -> Self {
                Self::$constructor($text).with_source(error)
            }
        })*
    };
}

shown! {
    std::num::ParseIntError => invalid_argument;
    std::num::ParseFloatError => invalid_argument;
    std::num::TryFromIntError => out_of_range;
    std::str::ParseBoolError => invalid_argument;
    std::str::Utf8Error => invalid_argument;
    std::string::FromUtf8Error => invalid_argument;
    prost::UnknownEnumValue => invalid_argument;
    crate::call::metadata::MetadataError => invalid_argument;
}

hidden! {
    tokio::time::error::Elapsed => deadline_exceeded("a timeout has elapsed");
    tokio::sync::AcquireError => unavailable("a semaphore is closed");
    // Handlers decode messages from stores or peers; requests are decoded before.
    prost::DecodeError => internal("a message could not be decoded");
    prost::EncodeError => internal("a message could not be encoded");
}

/// The kind of the error determines the code and the message. The source keeps paths, addresses and
/// texts of the operating system.
impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, AlreadyExists, BrokenPipe, ConnectionAborted,
            ConnectionRefused, ConnectionReset, Interrupted, InvalidData, InvalidInput,
            NotConnected, NotFound, PermissionDenied, TimedOut, UnexpectedEof, WouldBlock,
        };
        let kind = error.kind();
        let code = match kind {
            NotFound => Code::NotFound,
            PermissionDenied => Code::PermissionDenied,
            AlreadyExists => Code::AlreadyExists,
            TimedOut => Code::DeadlineExceeded,
            InvalidInput => Code::InvalidArgument,
            InvalidData | UnexpectedEof => Code::DataLoss,
            Interrupted | WouldBlock => Code::Aborted,
            AddrInUse | AddrNotAvailable | BrokenPipe | ConnectionAborted | ConnectionRefused
            | ConnectionReset | NotConnected => Code::Unavailable,
            // Kinds without a code of their own have names such as "other error".
            _ => return Self::unknown("an input/output error").with_source(error),
        };
        Self::new(code, kind.to_string()).with_source(error)
    }
}

/// The text of a panic stays in the source.
impl From<JoinError> for Status {
    fn from(error: JoinError) -> Self {
        let status = match error.is_cancelled() {
            true => Self::cancelled("a task was cancelled"),
            false => Self::internal("a task panicked"),
        };
        status.with_source(error)
    }
}

/// See [`Status::from_error`].
impl From<Box<dyn StdError + Send + Sync>> for Status {
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::from_error(error)
    }
}

impl Status {
    /// Converts any error, such as those of tower's layers, for which `?` does it too:
    ///
    /// - A `Status` is returned unchanged.
    /// - I/O errors, and errors of tasks and of tower's layers, are converted by their kind.
    /// - For an error with a `Status` among its [sources](StdError::source), returns the first one,
    ///   with the error as its source. It is not marked as [not started](Self::not_started),
    ///   because the error may be about more than one call.
    /// - Other errors are `UNKNOWN`, and their text is not sent to the caller.
    ///
    /// ```
    /// use std::{error::Error, fmt};
    ///
    /// use nmfw::{Code, Status};
    ///
    /// #[derive(Debug)]
    /// struct StoreError(Status);
    ///
    /// impl fmt::Display for StoreError {
    ///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    ///         f.write_str("the store does not answer")
    ///     }
    /// }
    ///
    /// impl Error for StoreError {
    ///     fn source(&self) -> Option<&(dyn Error + 'static)> {
    ///         Some(&self.0)
    ///     }
    /// }
    ///
    /// let error = StoreError(Status::unavailable("try again later"));
    /// let status = Status::from_error(error.into());
    /// assert_eq!(status.code(), Code::Unavailable);
    /// assert_eq!(status.message(), "try again later");
    /// ```
    #[must_use]
    pub fn from_error(error: Box<dyn StdError + Send + Sync>) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(status) => return *status,
            Err(error) => error,
        };
        let error = match error.downcast::<io::Error>() {
            Ok(error) => return Self::from(*error),
            Err(error) => error,
        };
        let error = match error.downcast::<JoinError>() {
            Ok(error) => return Self::from(*error),
            Err(error) => error,
        };
        if error.is::<tower::timeout::error::Elapsed>() {
            return Self::deadline_exceeded("the timeout of a layer has elapsed")
                .with_source(error);
        }
        if error.is::<tower::load_shed::error::Overloaded>() {
            return Self::resource_exhausted("overloaded")
                .with_source(error)
                // Not started: the layer sheds load in place of the call behind it. A service removes
                // the mark if the handler was called before.
                .not_started();
        }
        match inner_status(&*error) {
            Some(status) => status.with_source(error),
            None => Self::unknown("an error without a status").with_source(error),
        }
    }
}

/// Returns the first status among the sources of an error.
fn inner_status(error: &(dyn StdError + 'static)) -> Option<Status> {
    let mut sources = iter::successors(error.source(), |error| (*error).source());
    let status = sources.find_map(|error| error.downcast_ref::<Status>())?;
    Some(status.clone().started())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(status: &Status) -> String {
        crate::error::causes(status).join(": ")
    }

    #[test]
    fn a_boxed_status_comes_out_as_it_went_in() {
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Status::aborted("x").not_started());
        let status = Status::from(boxed);
        assert_eq!(status.code(), Code::Aborted);
        assert!(status.is_not_started());
    }

    #[test]
    fn a_status_among_the_sources_is_found_without_its_mark() {
        let error = io::Error::other(io::Error::other(Status::not_found("x").not_started()));
        // An I/O error is converted by its kind.
        assert_eq!(Status::from(error).code(), Code::Unknown);

        #[derive(Debug, thiserror::Error)]
        #[error("secret")]
        struct Failed(#[source] Status);
        let status = Status::from_error(Failed(Status::not_found("x").not_started()).into());
        assert_eq!((status.code(), status.message()), (Code::NotFound, "x"));
        assert!(!status.is_not_started());
        assert!(sources(&status).contains("secret"), "{status:?}");
    }

    #[test]
    fn io_errors_map_by_kind_and_keep_their_text_to_themselves() {
        let secret = "/srv/payroll/2026.db";
        for (kind, code, text) in [
            (io::ErrorKind::NotFound, Code::NotFound, "entity not found"),
            (
                io::ErrorKind::ConnectionRefused,
                Code::Unavailable,
                "connection refused",
            ),
            (io::ErrorKind::Other, Code::Unknown, "an input/output error"),
        ] {
            let error = || io::Error::new(kind, secret);
            let boxed: Box<dyn StdError + Send + Sync> = Box::new(error());
            for status in [Status::from(error()), Status::from(boxed)] {
                assert_eq!((status.code(), status.message()), (code, text));
                assert!(sources(&status).contains(secret), "{status:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_panic_keeps_its_text_to_itself() {
        let secret = "the key is 4711";
        let panicked = async || {
            let task = tokio::spawn(async move { panic!("{secret}") });
            task.await.unwrap_err()
        };
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(panicked().await);
        for status in [Status::from(panicked().await), Status::from(boxed)] {
            assert_eq!(status.code(), Code::Internal);
            assert_eq!(status.message(), "a task panicked");
            assert!(sources(&status).contains(secret), "{status:?}");
        }
        let pending = tokio::spawn(std::future::pending::<()>());
        pending.abort();
        let status = Status::from(pending.await.unwrap_err());
        assert_eq!(status.code(), Code::Cancelled);
    }

    #[test]
    fn texts_of_libraries_stay_in_the_source() {
        let secret = "user=admin password=x";
        let boxed: Box<dyn StdError + Send + Sync> = secret.into();
        let status = Status::from(boxed);
        assert_eq!(status.code(), Code::Unknown);
        assert!(!status.to_string().contains(secret), "{status}");
        assert!(sources(&status).contains(secret), "{status:?}");
        // A parse error concerns the sender of the value.
        let status = Status::from("x".parse::<u8>().unwrap_err());
        assert!(status.message().contains("invalid digit"), "{status}");
    }
}
