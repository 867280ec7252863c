//! [`Finding`] and [`Location`].

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Category, Rule};

/// A change that breaks a rule.
///
/// Displayed as one line, as compilers do:
///
/// ```text
/// proto/calc.proto:12:3: calc.AddRequest.values: its type changed from string to int32: old clients
/// send a string where new services read an int32: calls fail [FIELD_WIRE_COMPATIBLE_TYPE]
/// ```
///
/// Names and values of a schema are shortened to 256 characters, and their control characters are
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The full name in the old schema of the message, field, enum, service or method, such as
    /// `calc.AddRequest.values`; that of the new schema for a new field. For a package its old name, or
    /// the file if it had none.
    pub element: String,
    /// The change, such as "its type changed from string to int32".
    pub change: String,
    /// The programs that the change breaks, and how.
    pub effect: String,
    /// The place in the old schema's files; `None` if the element is new.
    pub old: Option<Location>,
    /// The place in the new schema's files; for a deleted element that of its parent, which can be the
    /// file, and `None` without one.
    pub new: Option<Location>,
}

impl Finding {
    /// Returns the first category of the rule; see [`Rule::category`].
    #[must_use]
    pub const fn category(&self) -> Category {
        self.rule.category()
    }

    /// Returns the place to point at: the new one, unless only the old one has a line.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        let places = [&self.new, &self.old];
        let mut known = places.into_iter().flatten();
        let first = known.clone().next();
        known.find(|place| place.line.is_some()).or(first)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = self.location() {
            write!(f, "{location}: ")?;
        }
        write!(
            f,
            "{}: {}: {} [{}]",
            self.element, self.change, self.effect, self.rule
        )
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut finding = serializer.serialize_struct("Finding", 7)?;
        finding.serialize_field("rule", &self.rule)?;
        finding.serialize_field("category", &self.category())?;
        finding.serialize_field("element", &self.element)?;
        finding.serialize_field("change", &self.change)?;
        finding.serialize_field("effect", &self.effect)?;
        finding.serialize_field("old", &self.old)?;
        finding.serialize_field("new", &self.new)?;
        finding.end()
    }
}

/// A place in a `.proto` file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Location {
    /// The name of the file in the descriptor set.
    pub file: String,
    /// The line, counted from 1; `None` if the set has no source locations.
    pub line: Option<u32>,
    /// The column in bytes, counted from 1; `None` if the set has no source locations.
    pub column: Option<u32>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}
