//! Errors of files, as text and as a status for the peer.

use std::io::{self, ErrorKind};

use nmfw::{Code, Status};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{name:?} is not a valid file name: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("cannot {what} {name:?}: {error}")]
    Io {
        what: &'static str,
        name: String,
        error: io::Error,
    },
    #[error("{name:?} is not a file")]
    NotAFile { name: String },
    #[error("{name:?} changed while it was read")]
    Changed { name: String },
    #[error("{name:?} has {actual} bytes instead of the announced {expected}")]
    Size {
        name: String,
        expected: u64,
        actual: u64,
    },
    #[error("{name:?} was changed in transit: the checksum does not match")]
    Checksum { name: String },
    #[error("another transfer is writing {name:?}")]
    Busy { name: String },
}

impl FileError {
    /// Returns a function for `map_err` that adds the operation and the file.
    pub(crate) fn io(what: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let name = name.to_owned();
        move |error| Self::Io { what, name, error }
    }

    fn code(&self) -> Code {
        match self {
            Self::Name { .. } | Self::Size { .. } => Code::InvalidArgument,
            Self::NotAFile { .. } => Code::FailedPrecondition,
            Self::Changed { .. } | Self::Busy { .. } => Code::Aborted,
            Self::Checksum { .. } => Code::DataLoss,
            Self::Io { error, .. } => match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    Code::ResourceExhausted
                }
                ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::DirectoryNotEmpty
                | ErrorKind::ReadOnlyFilesystem => Code::FailedPrecondition,
                ErrorKind::InvalidFilename => Code::InvalidArgument,
                kind => Status::from(io::Error::from(kind)).code(),
            },
        }
    }
}

impl From<FileError> for Status {
    fn from(error: FileError) -> Self {
        Self::new(error.code(), error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = FileError::io("write", "x")(ErrorKind::StorageFull.into());
        let status = Status::from(full);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "cannot write \"x\": no storage space");
        let missing = FileError::io("read", "x")(ErrorKind::NotFound.into());
        assert_eq!(Status::from(missing).code(), Code::NotFound);
    }
}
