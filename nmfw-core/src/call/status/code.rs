//! gRPC's status codes.

use std::{error::Error, fmt, str::FromStr};

/// The outcome of a call, as gRPC defines it.
///
/// Names, numbers and meanings are those of [gRPC's status
/// codes](https://grpc.io/docs/guides/status-codes/). The set is final in gRPC and here, so a
/// `match` may be exhaustive.
///
/// ```
/// use nmfw::Code;
///
/// assert_eq!(Code::NotFound.to_string(), "NOT_FOUND");
/// assert_eq!("NOT_FOUND".parse(), Ok(Code::NotFound));
/// assert_eq!((Code::NotFound.number(), Code::from(5)), (5, Code::NotFound));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded. No [`Status`](crate::Status) has this code: see
    /// [`Status::new`](crate::Status::new).
    Ok = 0,
    /// The caller cancelled the call.
    Cancelled = 1,
    /// An unknown error, for example from a foreign service.
    Unknown = 2,
    /// The request is invalid, whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed before the call completed. The work may still have been done.
    DeadlineExceeded = 4,
    /// A requested entity does not exist.
    NotFound = 5,
    /// An entity to be created already exists.
    AlreadyExists = 6,
    /// The caller is known but lacks the permission.
    PermissionDenied = 7,
    /// A quota, limit or capacity is exhausted, or a message is too large.
    ResourceExhausted = 8,
    /// The system is not in the state that the call requires. Do not retry until it has changed.
    FailedPrecondition = 9,
    /// A concurrency conflict. Retry at a higher level, starting with a new read.
    Aborted = 10,
    /// A value is past the valid range. Unlike `InvalidArgument`, it may become valid.
    OutOfRange = 11,
    /// The method does not exist or is not supported.
    Unimplemented = 12,
    /// An invariant is broken: a bug in the service or the framework.
    Internal = 13,
    /// The service is currently unavailable. A retry may succeed.
    Unavailable = 14,
    /// Data is lost or corrupted permanently.
    DataLoss = 15,
    /// The caller is not authenticated.
    Unauthenticated = 16,
}

impl Code {
    /// All codes, in numerical order.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Returns the code with this number; [`Code::Unknown`] for numbers that gRPC does not define.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| Self::ALL.get(n))
            .copied()
            .unwrap_or(Self::Unknown)
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Returns the name in gRPC's spelling, for example `DEADLINE_EXCEEDED`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// Returns the code for an HTTP status, for services that respond with those; the inverse of
    /// the table in
    /// [`google.rpc.Code`](https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
    #[doc(hidden)]
    pub const fn from_http(number: u32) -> Self {
        match number {
            400 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Aborted,
            412 => Self::FailedPrecondition,
            413 | 429 => Self::ResourceExhausted,
            416 => Self::OutOfRange,
            499 => Self::Cancelled,
            500 => Self::Internal,
            501 => Self::Unimplemented,
            502 | 503 => Self::Unavailable,
            408 | 504 => Self::DeadlineExceeded,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// See [`Code::from_number`].
impl From<i32> for Code {
    fn from(number: i32) -> Self {
        Self::from_number(number)
    }
}

/// See [`Code::number`].
impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        code.number()
    }
}

/// Parses a [name](Code::name) in capitals.
impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(name: &str) -> Result<Self, UnknownCode> {
        let found = Self::ALL.into_iter().find(|code| code.name() == name);
        found.ok_or(UnknownCode(()))
    }
}

/// The error of a text that is not the name of a [`Code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCode(());

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a gRPC status code, such as NOT_FOUND")
    }
}

impl Error for UnknownCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for (number, code) in (0..).zip(Code::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(Code::from_number(number), code);
        }
        assert_eq!(Code::from_number(17), Code::Unknown);
        assert_eq!(Code::from_number(-1), Code::Unknown);
    }

    #[test]
    fn names_round_trip() {
        for code in Code::ALL {
            assert_eq!(code.name().parse(), Ok(code));
        }
        for name in ["", "ok", "NotFound", "NOT_FOUND "] {
            assert_eq!(name.parse::<Code>(), Err(UnknownCode(())), "{name:?}");
        }
    }
}
