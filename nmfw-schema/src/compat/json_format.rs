//! The feature `json_format` of messages and enums.

use prost_reflect::{FileDescriptor, Syntax};

use super::Rule;
use super::locations::Place;
use super::report::{Draft, Findings};
use super::text::shown;

/// A message or enum in both schemas.
pub(super) struct Element<'a> {
    pub(super) rule: Rule,
    pub(super) name: &'a str,
    pub(super) old_file: FileDescriptor,
    pub(super) new_file: FileDescriptor,
    pub(super) places: &'a dyn Fn() -> (Place, Place),
}

/// Finds an element whose feature `json_format` is no longer `ALLOW`, as in proto3, but
/// `LEGACY_BEST_EFFORT`, as in proto2.
pub(super) fn compare(element: &Element<'_>, findings: &mut Findings<'_>) {
    let syntaxes = (element.old_file.syntax(), element.new_file.syntax());
    if !matches!(syntaxes, (Syntax::Proto3, Syntax::Proto2)) {
        return;
    }
    findings.add(element.rule, || {
        let (old, new) = (element.places)();
        Draft {
            element: shown(element.name),
            change: "its JSON format changed from ALLOW to LEGACY_BEST_EFFORT, because its file is proto2 now"
                .to_owned(),
            effect: "names may collide in JSON now, and programs in other languages may refuse its JSON"
                .to_owned(),
            old: Some(old),
            new: Some(new),
        }
    });
}
