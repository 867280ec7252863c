//! Lines and columns of elements, from `SourceCodeInfo`.

use std::cell::OnceCell;
use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};
use prost_types::FileDescriptorProto;

use super::Location;
use super::field::Field;
use super::text::shown;

/// Field numbers in `descriptor.proto`, the last parts of a path.
pub(super) mod tag {
    pub(in super::super) const FILE_PACKAGE: i32 = 2;
    pub(in super::super) const FIELD_NAME: i32 = 1;
    pub(in super::super) const FIELD_TYPE: i32 = 5;
    pub(in super::super) const FIELD_TYPE_NAME: i32 = 6;
    pub(in super::super) const FIELD_DEFAULT: i32 = 7;
    pub(in super::super) const FIELD_JSON_NAME: i32 = 10;
    pub(in super::super) const ENUM_VALUE_NUMBER: i32 = 2;
    pub(in super::super) const METHOD_INPUT: i32 = 2;
    pub(in super::super) const METHOD_OUTPUT: i32 = 3;
    pub(in super::super) const METHOD_OPTIONS: i32 = 4;
    pub(in super::super) const OPTION_IDEMPOTENCY: i32 = 34;
}

/// An element in a file, and the part of it to point at.
#[derive(Clone, Debug)]
pub(super) struct Place {
    file: usize,
    path: Vec<i32>,
    /// The end of the path, left out if the file does not have it.
    part: Vec<i32>,
}

impl Place {
    fn new(file: &FileDescriptor, path: &[i32]) -> Self {
        Self {
            file: file.index(),
            path: path.to_vec(),
            part: Vec::new(),
        }
    }

    /// Points at a part of the element, such as the type of a field, if the file has it.
    pub(super) fn part(mut self, part: &[i32]) -> Self {
        self.part = part.to_vec();
        self
    }
}

impl From<&FileDescriptor> for Place {
    fn from(file: &FileDescriptor) -> Self {
        Self::new(file, &[])
    }
}

macro_rules! place_of {
    ($($descriptor:ident),+) => {$(
        impl From<&$descriptor> for Place {
            fn from(element: &$descriptor) -> Self {
                Self::new(&element.parent_file(), element.path())
            }
        }
    )+};
}

place_of!(
    MessageDescriptor,
    Field,
    EnumDescriptor,
    EnumValueDescriptor,
    ServiceDescriptor,
    MethodDescriptor
);

/// The source locations of a schema. A file's are indexed when the first one is looked up.
pub(super) struct Locations<'a> {
    files: Vec<File<'a>>,
}

struct File<'a> {
    descriptor: &'a FileDescriptorProto,
    spans: OnceCell<HashMap<&'a [i32], &'a [i32]>>,
}

impl<'a> Locations<'a> {
    pub(super) fn new(pool: &'a DescriptorPool) -> Self {
        Self {
            files: pool
                .file_descriptor_protos()
                .map(|descriptor| File {
                    descriptor,
                    spans: OnceCell::new(),
                })
                .collect(),
        }
    }

    /// Returns the line and column of a place; only the file if the set has no source locations.
    pub(super) fn find(&self, place: &Place) -> Option<Location> {
        let file = self.files.get(place.file)?;
        let mut path = place.path.clone();
        path.extend(&place.part);
        let span = file.span(&path).or_else(|| file.span(&place.path));
        let (line, column) = match span {
            // A path that is not that of the whole file, because a span of the whole file has no meaning.
            Some([line, column, ..]) if !path.is_empty() => (from_0(*line), from_0(*column)),
            _ => (None, None),
        };
        Some(Location {
            file: shown(file.descriptor.name()),
            line,
            column,
        })
    }
}

impl<'a> File<'a> {
    fn span(&self, path: &[i32]) -> Option<&'a [i32]> {
        self.spans.get_or_init(|| self.spans()).get(path).copied()
    }

    fn spans(&self) -> HashMap<&'a [i32], &'a [i32]> {
        let mut spans = HashMap::new();
        for location in self
            .descriptor
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
        {
            // The first location of a path counts: an `extend` block has one for each of its fields.
            spans
                .entry(location.path.as_slice())
                .or_insert(location.span.as_slice());
        }
        spans
    }
}

/// `SourceCodeInfo` counts lines and columns from 0.
fn from_0(number: i32) -> Option<u32> {
    u32::try_from(number).ok()?.checked_add(1)
}
