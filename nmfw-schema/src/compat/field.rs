//! [`Field`] and [`Kind`]: fields and extensions, read alike.

use prost_reflect::{
    Cardinality, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor,
    MessageDescriptor, OneofDescriptor, Value,
};

/// A field of a message, or an extension.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Member(FieldDescriptor),
    Extension(ExtensionDescriptor),
}

macro_rules! either {
    ($self:ident, $field:ident => $value:expr) => {
        match $self {
            Field::Member($field) => $value,
            Field::Extension($field) => $value,
        }
    };
}

impl Field {
    pub(super) fn name(&self) -> &str {
        either!(self, field => field.name())
    }

    pub(super) fn full_name(&self) -> &str {
        either!(self, field => field.full_name())
    }

    pub(super) fn json_name(&self) -> &str {
        either!(self, field => field.json_name())
    }

    pub(super) fn number(&self) -> u32 {
        either!(self, field => field.number())
    }

    pub(super) fn path(&self) -> &[i32] {
        either!(self, field => field.path())
    }

    pub(super) fn parent_file(&self) -> FileDescriptor {
        either!(self, field => field.parent_file())
    }

    pub(super) const fn is_extension(&self) -> bool {
        matches!(self, Self::Extension(_))
    }

    /// Returns the oneof, unless it only stands for a proto3 field's `optional`.
    pub(super) fn oneof(&self) -> Option<OneofDescriptor> {
        match self {
            Self::Member(field) => field
                .containing_oneof()
                .filter(|oneof| !oneof.is_synthetic()),
            Self::Extension(_) => None,
        }
    }

    /// Returns another field of the message that JSON with this name means.
    pub(super) fn other_with_name(&self, name: &str) -> Option<FieldDescriptor> {
        match self {
            Self::Member(field) => with_name(field.parent_message(), name)
                .filter(|other| other.number() != field.number()),
            Self::Extension(_) => None,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        let (kind, is_group) = either!(self, field => (field.kind(), field.is_group()));
        Kind::new(kind, is_group)
    }

    pub(super) fn shape(&self) -> Shape {
        either!(self, field => {
            if field.is_map() {
                Shape::Map
            } else {
                match field.cardinality() {
                    Cardinality::Repeated => Shape::Repeated,
                    Cardinality::Required => Shape::Required,
                    Cardinality::Optional if field.supports_presence() => Shape::Optional,
                    Cardinality::Optional => Shape::Implicit,
                }
            }
        })
    }

    /// Returns the entry type of a map.
    pub(super) fn map_entry(&self) -> Option<MessageDescriptor> {
        match self.kind() {
            Kind::Message(entry) if self.shape() == Shape::Map => Some(entry),
            _ => None,
        }
    }

    /// Returns the value that a reader takes if the field is absent; `None` for messages and for
    /// repeated fields.
    pub(super) fn default(&self) -> Option<Value> {
        if matches!(self.shape(), Shape::Repeated | Shape::Map)
            || matches!(self.kind(), Kind::Message(_) | Kind::Group(_))
        {
            return None;
        }
        Some(either!(self, field => field.default_value()))
    }
}

/// Returns the field of a message that JSON with this name means.
pub(super) fn with_name(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message
        .get_field_by_json_name(name)
        .or_else(|| message.get_field_by_name(name))
}

/// The number of values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// At most one, and a reader sees whether it is there.
    Optional,
    /// One, which is not sent if it is the default.
    Implicit,
    Required,
    Repeated,
    Map,
}

impl Shape {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional with presence",
            Self::Implicit => "optional without presence",
            Self::Required => "required",
            Self::Repeated => "repeated",
            Self::Map => "a map",
        }
    }
}

/// The type of a field, with groups apart from messages.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Enum(EnumDescriptor),
    Message(MessageDescriptor),
    Group(MessageDescriptor),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
}

impl Kind {
    fn new(kind: prost_reflect::Kind, is_group: bool) -> Self {
        use prost_reflect::Kind as K;
        Self::Scalar(match kind {
            K::Message(message) if is_group => return Self::Group(message),
            K::Message(message) => return Self::Message(message),
            K::Enum(found) => return Self::Enum(found),
            K::Double => Scalar::Double,
            K::Float => Scalar::Float,
            K::Int32 => Scalar::Int32,
            K::Int64 => Scalar::Int64,
            K::Uint32 => Scalar::Uint32,
            K::Uint64 => Scalar::Uint64,
            K::Sint32 => Scalar::Sint32,
            K::Sint64 => Scalar::Sint64,
            K::Fixed32 => Scalar::Fixed32,
            K::Fixed64 => Scalar::Fixed64,
            K::Sfixed32 => Scalar::Sfixed32,
            K::Sfixed64 => Scalar::Sfixed64,
            K::Bool => Scalar::Bool,
            K::String => Scalar::String,
            K::Bytes => Scalar::Bytes,
        })
    }
}

impl Scalar {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Float => "float",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Sint32 => "sint32",
            Self::Sint64 => "sint64",
            Self::Fixed32 => "fixed32",
            Self::Fixed64 => "fixed64",
            Self::Sfixed32 => "sfixed32",
            Self::Sfixed64 => "sfixed64",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }
}
