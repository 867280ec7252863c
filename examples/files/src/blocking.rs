//! Files are read and written where that may block.

use std::{io, panic};

use crate::error::FileError;

/// Runs `work` on a thread that may block. It runs to its end even if nobody waits for it any more;
/// what it gives is dropped then.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime is being shut down.
            Err(error) => Err(FileError::io("finish", "")(io::Error::other(error))),
        },
    }
}
