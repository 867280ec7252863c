//! Rules about files.

use prost_reflect::FileDescriptor;

use super::Rule;
use super::locations::{Place, tag};
use super::report::{Draft, Findings};
use super::text::shown;

/// Checks a file with the same name in both schemas.
pub(super) fn compare(old: &FileDescriptor, new: &FileDescriptor, findings: &mut Findings<'_>) {
    if old.package_name() == new.package_name() {
        return;
    }
    findings.add(Rule::FileSamePackage, || Draft {
        element: shown(match old.package_name() {
            "" => old.name(),
            package => package,
        }),
        change: format!(
            "the file's package changed from {} to {}",
            in_words(old.package_name()),
            in_words(new.package_name())
        ),
        effect: "all full names in the file changed: old clients call services that are no longer \
                 there, and an `Any` with an old type is not read"
            .to_owned(),
        old: Some(Place::from(old).part(&[tag::FILE_PACKAGE])),
        new: Some(Place::from(new).part(&[tag::FILE_PACKAGE])),
    });
}

fn in_words(package: &str) -> String {
    match package {
        "" => "none".to_owned(),
        package => format!("`{}`", shown(package)),
    }
}
