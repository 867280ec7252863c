//! Compatibility of two schemas, by the rules of `buf breaking`.
//!
//! [`compare`] checks all rules of buf's categories `WIRE` and `WIRE_JSON`, and that no service or
//! method is gone. [`compare_service`] checks only the part of a schema that clients of one service
//! can notice, so a live service's schema, which holds only that service's files, can be compared
//! with a whole tree.
//!
//! ```
//! use nmfw_schema::Schema;
//! use nmfw_schema::compat::{self, Category, Rules};
//! # use prost::Message as _;
//! # use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
//! # fn schema(field: &str) -> Result<Schema, nmfw_schema::SchemaError> {
//! #     let message = DescriptorProto {
//! #         name: Some("AddRequest".to_owned()),
//! #         field: vec![FieldDescriptorProto {
//! #             name: Some(field.to_owned()),
//! #             number: Some(1),
//! #             label: Some(3),
//! #             r#type: Some(1),
//! #             ..Default::default()
//! #         }],
//! #         ..Default::default()
//! #     };
//! #     let file = FileDescriptorProto {
//! #         name: Some("calc.proto".to_owned()),
//! #         package: Some("calc".to_owned()),
//! #         syntax: Some("proto3".to_owned()),
//! #         message_type: vec![message],
//! #         ..Default::default()
//! #     };
//! #     Schema::from_descriptor_set(&FileDescriptorSet { file: vec![file] }.encode_to_vec())
//! # }
//!
//! # fn main() -> Result<(), nmfw_schema::SchemaError> {
//! let old = schema("values")?; // message AddRequest { repeated double values = 1; }
//! let new = schema("numbers")?; // message AddRequest { repeated double numbers = 1; }
//!
//! let report = compat::compare(&old, &new, Rules::default());
//! assert!(report.is_compatible(Category::Wire));
//! assert!(!report.is_compatible(Category::WireJson));
//! assert_eq!(report.findings()[0].element, "calc.AddRequest.values");
//! print!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! # Differences from buf
//!
//! The rules are those of buf 1.75 for configurations of version 2, with these exceptions:
//!
//! - The entry type of a map is not compared by its name, which follows from the map's name, but by
//!   the types of the map's keys and values. buf reports the type of a map that was renamed, although
//!   its encoding stays, compares maps of one name even if their numbers differ, and reports the JSON
//!   format of an entry type beside that of its message.
//! - [`Rule::PackageServiceNoDelete`] also reports services whose whole package is gone. buf reports
//!   the package instead, by a rule outside of `WIRE` and `WIRE_JSON`.
//! - A finding without a place in buf, such as a removed `idempotency_level`, has the place of the
//!   surrounding element.
//! - Features of editions are those of the proto2 or proto3 file that a schema holds in place of a
//!   file with an edition.

mod cardinality;
mod defaults;
mod enums;
mod field;
mod fields;
mod files;
mod finding;
mod json_format;
mod locations;
mod messages;
mod parties;
mod report;
mod reserved;
mod rule;
mod services;
mod text;
mod types;
mod usage;
mod walk;

use std::fmt;

use prost_reflect::ServiceDescriptor;

use crate::Schema;
use text::{list, shown};

pub use finding::{Finding, Location};
pub use report::Report;
pub use rule::{Category, Rule, Rules, UnknownRule};

/// Finds the changes from the old schema to the new one that break a rule.
///
/// Types are paired by full name, fields and enum values by number, methods by name, and files by
/// name. Schemas from [`Schema::from_descriptor_set`] give places only if the set has
/// `SourceCodeInfo`.
///
/// Equal arguments give equal reports, in the same order. Time and memory are bounded by the size of
/// the schemas and by [`Report::MAX_FINDINGS`].
#[must_use]
pub fn compare(old: &Schema, new: &Schema, rules: Rules) -> Report {
    walk::compare(old.pool(), new.pool(), None, rules)
}

/// Finds the changes that clients of one service can notice.
///
/// Like [`compare`], but only for the service with this full name, such as `calc.Calc`, and the
/// messages and enums that its methods reach in both schemas.
///
/// # Errors
/// Fails if the old schema lacks the service. If only the new one lacks it, the report has
/// [`Rule::PackageServiceNoDelete`].
pub fn compare_service(
    old: &Schema,
    new: &Schema,
    service: &str,
    rules: Rules,
) -> Result<Report, UnknownService> {
    match old.pool().get_service_by_name(service) {
        Some(service) => Ok(walk::compare(old.pool(), new.pool(), Some(&service), rules)),
        None => Err(UnknownService::new(service, old)),
    }
}

/// A service that the old schema does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownService {
    service: String,
    known: String,
}

impl UnknownService {
    fn new(service: &str, schema: &Schema) -> Self {
        let services: Vec<_> = schema.pool().services().collect();
        let known: Vec<_> = services.iter().map(ServiceDescriptor::full_name).collect();
        Self {
            service: shown(service),
            known: list(&known),
        }
    }
}

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the old schema has no service `{}`; ", self.service)?;
        match self.known.as_str() {
            "" => f.write_str("it has none"),
            known => write!(f, "it has {known}"),
        }
    }
}

impl std::error::Error for UnknownService {}
