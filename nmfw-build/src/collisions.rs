//! Finds messages, fields and enum values that are told apart in the `.proto` but would have one name in Rust.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, EnumDescriptor, EnumValueDescriptor, FileDescriptor};

use crate::error::{Place, Problem};
use crate::model::{self, Settings};
use crate::names;
use crate::options;
use crate::well_known;

/// Reports messages, enums, their fields and values that generated code could not keep apart.
pub(crate) fn messages(pool: &DescriptorPool, settings: &Settings, problems: &mut Vec<Problem>) {
    let ours = |file: &FileDescriptor, full_name: &str| {
        let elsewhere = file.name() == options::FILE || well_known::is_in_package(file);
        !elsewhere && !settings.is_extern(full_name)
    };
    let mut types: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut add_type = |name: &str, full_name: &str, place: Place, problems: &mut Vec<Problem>| {
        let scope = full_name.strip_suffix(name).unwrap_or(full_name);
        let key = (
            names::file_stem(scope.trim_end_matches('.')),
            names::type_name(name),
        );
        if let Some(other) = types.get(&key) {
            let what = format!(
                "`{other}` and `{full_name}` would both be `{}` in Rust",
                key.1
            );
            problems.push(Problem {
                place,
                what,
                help: "rename one of them".to_owned(),
            });
        } else {
            types.insert(key, full_name.to_owned());
        }
    };
    for item in pool
        .all_enums()
        .filter(|item| ours(&item.parent_file(), item.full_name()))
    {
        let place = place(&item.parent_file(), item.path());
        add_type(item.name(), item.full_name(), place, problems);
        values(&item, settings, problems);
    }
    for message in pool
        .all_messages()
        .filter(|item| ours(&item.parent_file(), item.full_name()))
    {
        // The entries of maps become no type.
        if message.is_map_entry() {
            continue;
        }
        let file = message.parent_file();
        add_type(
            message.name(),
            message.full_name(),
            place(&file, message.path()),
            problems,
        );
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let fields = message.fields().filter(|field| {
            field
                .containing_oneof()
                .is_none_or(|oneof| oneof.is_synthetic())
        });
        let fields = fields.map(|field| (field.name().to_owned(), field.path().to_vec()));
        let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
        let oneofs = oneofs.map(|oneof| (oneof.name().to_owned(), oneof.path().to_vec()));
        for (name, path) in fields.chain(oneofs) {
            let rust = names::module(&name);
            if let Some(other) = seen.get(&rust) {
                let what = format!(
                    "the fields `{other}` and `{name}` of `{}` would both be `{rust}` in Rust",
                    message.full_name()
                );
                let help = "rename one of them".to_owned();
                problems.push(Problem {
                    place: place(&file, &path),
                    what,
                    help,
                });
            } else {
                seen.insert(rust, name);
            }
        }
    }
}

fn values(item: &EnumDescriptor, settings: &Settings, problems: &mut Vec<Problem>) {
    let mut numbers = BTreeSet::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    // In the order of the file, which the pool does not keep.
    let mut values: Vec<EnumValueDescriptor> = item.values().collect();
    values.sort_by(|a, b| a.path().cmp(b.path()));
    for value in values {
        // An alias becomes no variant; the first name of a number does.
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

pub(crate) fn place(file: &FileDescriptor, path: &[i32]) -> Place {
    Place {
        file: file.name().to_owned(),
        position: model::position(file, path),
        ..Place::default()
    }
}
