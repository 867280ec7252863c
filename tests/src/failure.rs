//! The error type of the harness.

use std::fmt;

/// An error of the harness, as opposed to a failed assertion of a test.
///
/// `Debug` prints the plain text, so that `unwrap` in a test shows readable lines, including logs,
/// rather than one escaped string.
pub struct Failure(String);

impl Failure {
    /// Creates a failure with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Prefixes the failure with the operation that failed.
    #[must_use]
    pub fn while_doing(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Adds the failed operation to any error.
pub trait Doing<T> {
    /// Turns the error into a [`Failure`] that starts with `what`.
    ///
    /// # Errors
    ///
    /// Returns the original error as a [`Failure`].
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|e| Failure(format!("{what}: {e}")))
    }
}
