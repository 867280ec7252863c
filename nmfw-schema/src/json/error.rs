//! [`JsonError`].

use std::cell::RefCell;
use std::fmt;

/// Why a document or message cannot be converted.
///
/// The text begins with the path in the document, if the error is at one:
/// `values[3]: expected a number, but found a string`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    path: String,
    reason: String,
}

impl JsonError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Returns the path of the fault, such as `items[2].price`; empty for the document itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the text without the path.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for JsonError {}

/// A step of a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

/// The longest path in an error, in bytes. Names of fields and keys of maps come from the caller.
const MAX_PATH: usize = 512;

/// The longest text of a caller's in an error, in characters.
const MAX_TEXT: usize = 60;

/// The error on its way up through serde, whose errors are only text.
#[derive(Debug, Default)]
pub(super) struct Failure(RefCell<Option<JsonError>>);

impl Failure {
    /// Stores an error, and returns one for serde.
    pub(super) fn set<E: serde::de::Error>(&self, reason: impl Into<String>) -> E {
        self.put(reason.into());
        E::custom("")
    }

    /// Like [`set`](Self::set), when writing.
    pub(super) fn set_ser<E: serde::ser::Error>(&self, reason: impl Into<String>) -> E {
        self.put(reason.into());
        E::custom("")
    }

    fn put(&self, reason: String) {
        *self.0.borrow_mut() = Some(JsonError::new(reason));
    }

    /// Puts a step before the path of the stored error, if there is one.
    pub(super) fn at<E>(&self, step: Step<'_>, error: E) -> E {
        if let Some(stored) = self.0.borrow_mut().as_mut() {
            let step = match step {
                Step::Field(name) => escape(name),
                Step::Key(key) => format!("[\"{}\"]", escape(key)),
                Step::Index(index) => format!("[{index}]"),
            };
            let dot = match stored.path.chars().next() {
                None | Some('[') => "",
                Some(_) => ".",
            };
            if stored.path.len() < MAX_PATH {
                stored.path = format!("{step}{dot}{}", stored.path);
            } else if !stored.path.starts_with("...") {
                stored.path = format!("...{}", stored.path);
            }
        }
        error
    }

    /// Returns the stored error, or else `other`.
    pub(super) fn take(self, other: impl FnOnce() -> JsonError) -> JsonError {
        self.0.into_inner().unwrap_or_else(other)
    }
}

/// Shortens a text of the caller's, and escapes characters that would harm a terminal.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (each, index) in text.chars().zip(0..) {
        if index == MAX_TEXT {
            escaped.push_str("...");
            break;
        }
        match each {
            '"' | '\\' | '\'' => escaped.push(each),
            _ => escaped.extend(each.escape_debug()),
        }
    }
    escaped
}
