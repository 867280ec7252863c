//! Google's packages, whose Rust types are those of prost-types.

use prost_reflect::{DescriptorPool, FileDescriptor, Kind};
use prost_types::FileDescriptorProto;
use prost_types::descriptor_proto::ExtensionRange;

use crate::error::{Place, Problem};
use crate::location;
use crate::settings::Settings;

const PACKAGE: &str = "google.protobuf";
/// The folder of these files.
const FOLDER: &str = "google/protobuf/";
/// Types of these packages, and everything in them, that files may define and that prost-types
/// lacks.
const MISSING: [&str; 10] = [
    "google.protobuf.Edition",
    "google.protobuf.ExtensionRangeOptions.Declaration",
    "google.protobuf.ExtensionRangeOptions.VerificationState",
    "google.protobuf.FeatureSet",
    "google.protobuf.FeatureSetDefaults",
    "google.protobuf.FieldOptions.EditionDefault",
    "google.protobuf.FieldOptions.FeatureSupport",
    "google.protobuf.FieldOptions.OptionRetention",
    "google.protobuf.FieldOptions.OptionTargetType",
    "google.protobuf.SymbolVisibility",
];

/// Features of other languages, which files may import. None of them has a meaning for Rust.
const FEATURES: [(&str, &str); 3] = [
    (
        "google/protobuf/cpp_features.proto",
        include_str!("../proto/google/protobuf/cpp_features.proto"),
    ),
    (
        "google/protobuf/go_features.proto",
        include_str!("../proto/google/protobuf/go_features.proto"),
    ),
    (
        "google/protobuf/java_features.proto",
        include_str!("../proto/google/protobuf/java_features.proto"),
    ),
];

/// Returns the source of a file that is not in the include folders.
pub(crate) fn source(name: &str) -> Option<&'static str> {
    let found = FEATURES.iter().find(|(known, _)| *known == name);
    found.map(|(_, source)| *source)
}

/// Returns the descriptor of a file that is not in the include folders.
pub(crate) fn file(name: &str) -> Option<FileDescriptorProto> {
    if !is_shipped_with_protoc(name) {
        return None;
    }
    let file = DescriptorPool::global().get_file_by_name(name)?;
    let mut file = file.file_descriptor_proto().clone();
    // prost-reflect's copy predates the features of Go.
    let features = file
        .message_type
        .iter_mut()
        .find(|message| message.name() == "FeatureSet");
    if let Some(features) = features {
        features.extension_range = vec![ExtensionRange {
            start: Some(1000),
            end: Some(10_001),
            options: None,
        }];
    }
    Some(file)
}

/// Returns whether a protoc, perhaps a newer one, may provide a file of this name.
pub(crate) fn is_shipped_with_protoc(name: &str) -> bool {
    name.starts_with(FOLDER)
}

/// Returns whether prost-build takes the types of this file from prost-types.
pub(crate) fn is_in_package(file: &FileDescriptor) -> bool {
    is_below(file.package_name(), PACKAGE)
}

/// Reports the use of types in Google's packages that are not Google's, for which no code exists.
///
/// Files with such types are allowed, because other files import them for options.
pub(crate) fn unavailable(pool: &DescriptorPool, settings: &Settings, problems: &mut Vec<Problem>) {
    let is_unavailable = |full_name: &str| {
        is_below(full_name, PACKAGE)
            && !is_in_prost_types(full_name)
            && !settings.is_extern(full_name)
    };
    for message in pool.all_messages() {
        let file = message.parent_file();
        if is_in_package(&file) || message.is_map_entry() || settings.is_extern(message.full_name())
        {
            continue;
        }
        for field in message.fields() {
            let kind = match field.kind() {
                Kind::Message(entry) if entry.is_map_entry() => {
                    entry.map_entry_value_field().kind()
                }
                kind => kind,
            };
            let full_name = match kind {
                Kind::Message(kind) => kind.full_name().to_owned(),
                Kind::Enum(kind) => kind.full_name().to_owned(),
                _ => continue,
            };
            if is_unavailable(&full_name) {
                problems.push(problem(&full_name, location::place(&file, field.path())));
            }
        }
    }
    for service in pool.services() {
        for method in service.methods() {
            for kind in [method.input(), method.output()] {
                if is_unavailable(kind.full_name()) {
                    let file = service.parent_file();
                    let place = Place {
                        file: file.name().to_owned(),
                        position: location::position(&file, method.path()),
                        service: service.full_name().to_owned(),
                        method: Some(method.name().to_owned()),
                    };
                    problems.push(problem(kind.full_name(), place));
                }
            }
        }
    }
}

fn problem(full_name: &str, place: Place) -> Problem {
    Problem {
        place,
        what: format!(
            "there is no Rust type for `{full_name}`: the types of the package `{PACKAGE}` and its \
             subpackages are those of prost-types, which lacks this one"
        ),
        help: "set the Rust type with `extern_path`, or move a type of your own to another package"
            .to_owned(),
    }
}

fn is_in_prost_types(full_name: &str) -> bool {
    let google = DescriptorPool::global();
    let is_known = google.get_message_by_name(full_name).is_some()
        || google.get_enum_by_name(full_name).is_some();
    is_known && !MISSING.iter().any(|missing| is_below(full_name, missing))
}

/// Returns whether a name is the scope or inside of it.
fn is_below(name: &str, scope: &str) -> bool {
    name.strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
