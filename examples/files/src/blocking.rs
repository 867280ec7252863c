//! Runs blocking file operations.

use std::{io, panic};

use crate::error::FileError;

/// Runs `work` on a thread that may block. It runs to completion even if the caller is dropped; its
/// result is then discarded.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(error) => Err(FileError::io("finish", "")(io::Error::other(error))),
        },
    }
}
