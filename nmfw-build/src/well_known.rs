//! The packages of Google, whose Rust types are those of prost-types.

use prost_reflect::{DescriptorPool, FileDescriptor};

use crate::collisions;
use crate::error::Problem;
use crate::model::Settings;

const PACKAGE: &str = "google.protobuf";

/// Whether prost-build takes the types of this file from prost-types.
pub(crate) fn is_in_package(file: &FileDescriptor) -> bool {
    file.package_name()
        .strip_prefix(PACKAGE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Reports types in the packages of Google that are not Google's: there is no code for them anywhere.
pub(crate) fn impostors(pool: &DescriptorPool, settings: &Settings, problems: &mut Vec<Problem>) {
    let google = DescriptorPool::global();
    for file in pool.files().filter(is_in_package) {
        let messages = file
            .messages()
            .map(|item| (item.full_name().to_owned(), item.path().to_vec()));
        let enums = file
            .enums()
            .map(|item| (item.full_name().to_owned(), item.path().to_vec()));
        let types: Vec<_> = messages.chain(enums).collect();
        // A copy of a file of Google, maybe of a newer one, is not at fault. It may be in any folder.
        let copy = types.iter().any(|(full_name, _)| {
            google.get_message_by_name(full_name).is_some()
                || google.get_enum_by_name(full_name).is_some()
        });
        if copy {
            continue;
        }
        // One a file is enough: the package is what is wrong.
        let first = types
            .into_iter()
            .find(|(full_name, _)| !settings.is_extern(full_name));
        if let Some((full_name, path)) = first {
            problems.push(Problem {
                place: collisions::place(&file, &path),
                what: format!(
                    "no code can be generated for `{full_name}`: types of the package `{PACKAGE}` and below are those of prost-types"
                ),
                help: "choose another package, or say where the Rust types are with `extern_path`"
                    .to_owned(),
            });
        }
    }
}
