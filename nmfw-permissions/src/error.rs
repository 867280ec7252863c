//! The error for invalid names, subjects and queries.

use std::{convert::Infallible, fmt};

/// An error in the input for permissions. The text names the problem and lists the valid choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// Creates an error, for conversions into [`ServiceFacts`](crate::ServiceFacts).
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Never called: [`ServiceFacts`](crate::ServiceFacts) converts into itself without errors.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
