//! Finds types and enum values that have different names in the `.proto` but the same name in Rust.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FileDescriptor, MessageDescriptor,
    OneofDescriptor,
};

use crate::error::{Place, Problem};
use crate::location::place;
use crate::names;
use crate::options;
use crate::settings::Settings;
use crate::well_known;

/// The Rust types of a build, by the module they are in.
///
/// Types nested in a message `Bar` of the package `foo` are in the same module as the package `foo.bar`.
#[derive(Debug, Default)]
pub(crate) struct Types(BTreeMap<(String, String), String>);

impl Types {
    /// Returns the item with this Rust name in the module of a package or of a message.
    pub(crate) fn get(&self, scope: &str, rust: &str) -> Option<&str> {
        let key = (names::file_stem(scope), rust.to_owned());
        self.0.get(&key).map(String::as_str)
    }

    pub(crate) fn add(&mut self, scope: &str, rust: &str, what: String) {
        let key = (names::file_stem(scope), rust.to_owned());
        self.0.insert(key, what);
    }

    fn add_or_report(
        &mut self,
        (scope, rust): (&str, &str),
        full_name: &str,
        place: impl FnOnce() -> Place,
        problems: &mut Vec<Problem>,
    ) {
        if let Some(other) = self.get(scope, rust) {
            problems.push(Problem {
                place: place(),
                what: format!("{other} and `{full_name}` would both be `{rust}` in Rust"),
                help: "rename one of them".to_owned(),
            });
        } else {
            self.add(scope, rust, format!("`{full_name}`"));
        }
    }
}

/// Returns whether code is generated for an item of this file.
pub(crate) fn is_generated(file: &FileDescriptor, full_name: &str, settings: &Settings) -> bool {
    let elsewhere = file.name() == options::FILE || well_known::is_in_package(file);
    !elsewhere && !settings.is_extern(full_name)
}

/// Returns the types of all messages, enums and oneofs, and reports those whose Rust names
/// conflict.
pub(crate) fn types(
    pool: &DescriptorPool,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Types {
    let mut types = Types::default();
    for item in pool
        .all_enums()
        .filter(|item| is_generated(&item.parent_file(), item.full_name(), settings))
    {
        types.add_or_report(
            (
                scope(item.full_name(), item.name()),
                &names::type_name(item.name()),
            ),
            item.full_name(),
            || place(&item.parent_file(), item.path()),
            problems,
        );
        values(&item, settings, problems);
    }
    let messages: Vec<MessageDescriptor> = pool
        .all_messages()
        // Map entries have no type.
        .filter(|item| !item.is_map_entry())
        .filter(|item| is_generated(&item.parent_file(), item.full_name(), settings))
        .collect();
    for message in &messages {
        types.add_or_report(
            (
                scope(message.full_name(), message.name()),
                &names::type_name(message.name()),
            ),
            message.full_name(),
            || place(&message.parent_file(), message.path()),
            problems,
        );
    }
    for message in &messages {
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            types.add_or_report(
                (message.full_name(), &oneof_type(message, &oneof)),
                oneof.full_name(),
                || place(&message.parent_file(), oneof.path()),
                problems,
            );
        }
    }
    types
}

/// Returns the package or message that contains an item.
fn scope<'a>(full_name: &'a str, name: &str) -> &'a str {
    let scope = full_name.strip_suffix(name).unwrap_or(full_name);
    scope.trim_end_matches('.')
}

/// Returns the Rust name of a oneof's enum, by the rule of prost-build.
fn oneof_type(message: &MessageDescriptor, oneof: &OneofDescriptor) -> String {
    let name = names::type_name(oneof.name());
    let messages = message.child_messages().map(|item| item.name().to_owned());
    let enums = message.child_enums().map(|item| item.name().to_owned());
    if messages
        .chain(enums)
        .any(|nested| names::type_name(&nested) == name)
    {
        return format!("{name}OneOf");
    }
    name
}

fn values(item: &EnumDescriptor, settings: &Settings, problems: &mut Vec<Problem>) {
    let mut numbers = BTreeSet::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    // Restores the order of the file, which the pool does not keep.
    let mut values: Vec<EnumValueDescriptor> = item.values().collect();
    values.sort_by(|a, b| a.path().cmp(b.path()));
    for value in values {
        // Aliases have no variant; only the first name of a number does.
        if !numbers.insert(value.number()) {
            continue;
        }
        let rust = names::variant(item.name(), value.name(), settings.strip_enum_prefix);
        if let Some(other) = seen.get(&rust) {
            let what = format!(
                "the values `{other}` and `{}` of `{}` would both be `{rust}` in Rust",
                value.name(),
                item.full_name()
            );
            problems.push(Problem {
                place: place(&item.parent_file(), value.path()),
                what,
                help: "rename one of them".to_owned(),
            });
        } else {
            seen.insert(rust, value.name().to_owned());
        }
    }
}
