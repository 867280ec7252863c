//! Exit statuses, and the error output of a tool.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use super::log;
use crate::server::Ending;
use nmfw_core::error::causes;

/// The exit status if the grace period ended with requests in flight.
pub const EXIT_GRACE_ENDED: u8 = 3;

/// The exit status if a second signal aborted requests in flight.
pub const EXIT_FORCED: u8 = 4;

/// Returns the exit status of a stopped service.
pub(super) const fn status(ending: Ending) -> u8 {
    match ending {
        Ending::Drained => 0,
        Ending::GraceEnded => EXIT_GRACE_ENDED,
        Ending::Forced => EXIT_FORCED,
    }
}

/// Prints an error with its causes on standard error, and returns the exit status for it, 1.
///
/// ```no_run
/// # async fn call() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
/// use std::process::ExitCode;
///
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     match call().await {
///         Ok(()) => ExitCode::SUCCESS,
///         Err(error) => nmfw::cli::failure(&*error),
///     }
/// }
/// ```
///
/// With a JSON log, the error is a log line, so that all output is JSON.
pub fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    let causes = causes(error);
    if log::is_json() && tracing::enabled!(tracing::Level::ERROR) {
        let cause = (!causes.is_empty()).then(|| causes.join(": "));
        tracing::error!(cause, "{error}");
    } else {
        let mut text = format!("error: {error}\n");
        for cause in causes {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        // There is nothing to do if this fails.
        _ = io::stderr().write_all(text.as_bytes());
    }
    ExitCode::FAILURE
}
