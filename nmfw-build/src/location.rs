//! The positions of items in their `.proto`.

use prost_reflect::FileDescriptor;
use prost_types::source_code_info::Location;

use crate::error::Place;

/// Finds the source location of an item by its path in the descriptor.
pub(crate) fn find<'a>(file: &'a FileDescriptor, path: &[i32]) -> Option<&'a Location> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    info.location.iter().find(|location| location.path == path)
}

/// Returns line and column of an item, from 1.
pub(crate) fn position(file: &FileDescriptor, path: &[i32]) -> Option<(i32, i32)> {
    let span = &find(file, path)?.span;
    Some((span.first()?.checked_add(1)?, span.get(1)?.checked_add(1)?))
}

/// Returns the place of an item outside of services.
pub(crate) fn place(file: &FileDescriptor, path: &[i32]) -> Place {
    Place {
        file: file.name().to_owned(),
        position: position(file, path),
        ..Place::default()
    }
}
