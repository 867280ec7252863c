//! `?` on common errors, and back from the boxed errors of tower's layers.

use std::{error::Error as StdError, io};

use super::{Code, Status};

macro_rules! from {
    ($($error:ty => $constructor:ident;)*) => {
        $(impl From<$error> for Status {
            fn from(error: $error) -> Self {
                Self::$constructor(error.to_string()).with_source(error)
            }
        })*
    };
}

from! {
    std::num::ParseIntError => invalid_argument;
    std::num::ParseFloatError => invalid_argument;
    std::num::TryFromIntError => out_of_range;
    std::str::ParseBoolError => invalid_argument;
    std::str::Utf8Error => invalid_argument;
    std::string::FromUtf8Error => invalid_argument;
    tokio::time::error::Elapsed => deadline_exceeded;
    tokio::sync::AcquireError => unavailable;
    // What a handler decodes besides its request came from a store or a peer, not from its caller.
    prost::DecodeError => internal;
    prost::EncodeError => internal;
    prost::UnknownEnumValue => invalid_argument;
    async_nats::PublishError => unavailable;
    async_nats::SubscribeError => unavailable;
    async_nats::RequestError => unavailable;
    crate::metadata::MetadataError => invalid_argument;
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, AlreadyExists, BrokenPipe, ConnectionAborted,
            ConnectionRefused, ConnectionReset, Interrupted, InvalidData, InvalidInput,
            NotConnected, NotFound, PermissionDenied, TimedOut, UnexpectedEof, WouldBlock,
        };
        let code = match error.kind() {
            NotFound => Code::NotFound,
            PermissionDenied => Code::PermissionDenied,
            AlreadyExists => Code::AlreadyExists,
            TimedOut => Code::DeadlineExceeded,
            InvalidInput => Code::InvalidArgument,
            InvalidData | UnexpectedEof => Code::DataLoss,
            Interrupted | WouldBlock => Code::Aborted,
            AddrInUse | AddrNotAvailable | BrokenPipe | ConnectionAborted | ConnectionRefused
            | ConnectionReset | NotConnected => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(code, error.to_string()).with_source(error)
    }
}

impl From<tokio::task::JoinError> for Status {
    fn from(error: tokio::task::JoinError) -> Self {
        let code = if error.is_cancelled() {
            Code::Cancelled
        } else {
            Code::Internal
        };
        Self::new(code, error.to_string()).with_source(error)
    }
}

/// For `Box<dyn Error + Send + Sync>`, which is what most of tower's layers fail with. A `Status`
/// inside comes out as it went in.
impl From<Box<dyn StdError + Send + Sync>> for Status {
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(status) => return *status,
            Err(error) => error,
        };
        if error.is::<tower::timeout::error::Elapsed>() {
            return Self::deadline_exceeded("a timeout layer's time is over").with_source(error);
        }
        if error.is::<tower::load_shed::error::Overloaded>() {
            // The layer sits before the handler, which therefore has not seen the call.
            return Self::resource_exhausted("overloaded")
                .with_source(error)
                .not_started();
        }
        Self::unknown(error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boxed_status_comes_out_as_it_went_in() {
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Status::aborted("x").not_started());
        let status = Status::from(boxed);
        assert_eq!(status.code(), Code::Aborted);
        assert!(status.is_not_started());
    }

    #[test]
    fn io_errors_map_by_kind() {
        let status = Status::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(StdError::source(&status).is_some());
    }
}
