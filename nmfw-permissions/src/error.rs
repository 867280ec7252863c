//! What cannot be made permissions of.

use std::{convert::Infallible, fmt};

/// Why there are no such permissions. The text says what is wrong and what there is instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// For who makes [`ServiceFacts`](crate::ServiceFacts) of something else.
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

/// Of facts that are facts already.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
