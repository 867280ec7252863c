//! The messages of `google.protobuf` that have a JSON form of their own.

use prost_reflect::{Cardinality, EnumDescriptor, Kind, MessageDescriptor};

/// A message with a JSON form of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Wrapper,
}

impl WellKnown {
    /// Returns the form of a message. A message that only has the name of one, but other fields,
    /// is an ordinary message.
    pub(crate) fn of(message: &MessageDescriptor) -> Option<Self> {
        let name = message.full_name().strip_prefix("google.protobuf.")?;
        let has = |number: u32, is_kind: fn(&Kind) -> bool| {
            message.get_field(number).is_some_and(|field| {
                field.cardinality() != Cardinality::Repeated && is_kind(&field.kind())
            })
        };
        let (form, is_real) = match name {
            "Any" => (
                Self::Any,
                has(1, |kind| matches!(kind, Kind::String))
                    && has(2, |kind| matches!(kind, Kind::Bytes)),
            ),
            "Timestamp" | "Duration" => (
                if name == "Timestamp" {
                    Self::Timestamp
                } else {
                    Self::Duration
                },
                has(1, |kind| matches!(kind, Kind::Int64))
                    && has(2, |kind| matches!(kind, Kind::Int32)),
            ),
            "FieldMask" => (
                Self::FieldMask,
                message
                    .get_field(1)
                    .is_some_and(|field| field.is_list() && matches!(field.kind(), Kind::String)),
            ),
            "Struct" => (Self::Struct, is_struct(message)),
            "Value" => (Self::Value, is_value(message)),
            "ListValue" => (
                Self::ListValue,
                message.get_field(1).is_some_and(|field| {
                    field.is_list() && is_message(&field.kind(), "google.protobuf.Value")
                }),
            ),
            "DoubleValue" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Double))),
            "FloatValue" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Float))),
            "Int64Value" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Int64))),
            "UInt64Value" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Uint64))),
            "Int32Value" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Int32))),
            "UInt32Value" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Uint32))),
            "BoolValue" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Bool))),
            "StringValue" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::String))),
            "BytesValue" => (Self::Wrapper, has(1, |kind| matches!(kind, Kind::Bytes))),
            _ => return None,
        };
        is_real.then_some(form)
    }
}

/// Whether a type has a JSON form other than an object of its fields, so that it is in the member
/// `value` of an `Any`.
pub(super) fn is_value_in_any(message: &MessageDescriptor) -> bool {
    WellKnown::of(message).is_some() || message.full_name() == "google.protobuf.Empty"
}

/// Whether an enum is the one whose only value is `null` in JSON.
pub(crate) fn is_null_value(desc: &EnumDescriptor) -> bool {
    desc.full_name() == "google.protobuf.NullValue"
}

fn is_message(kind: &Kind, full_name: &str) -> bool {
    matches!(kind, Kind::Message(message) if message.full_name() == full_name)
}

fn is_struct(message: &MessageDescriptor) -> bool {
    message.get_field(1).is_some_and(|field| {
        field.is_map()
            && field.kind().as_message().is_some_and(|entry| {
                matches!(entry.map_entry_key_field().kind(), Kind::String)
                    && is_message(
                        &entry.map_entry_value_field().kind(),
                        "google.protobuf.Value",
                    )
            })
    })
}

/// The fields of `google.protobuf.Value`, by number.
pub(super) mod value {
    pub(crate) const NULL: u32 = 1;
    pub(crate) const NUMBER: u32 = 2;
    pub(crate) const STRING: u32 = 3;
    pub(crate) const BOOL: u32 = 4;
    pub(crate) const STRUCT: u32 = 5;
    pub(crate) const LIST: u32 = 6;
}

fn is_value(message: &MessageDescriptor) -> bool {
    let kind = |number| {
        message
            .get_field(number)
            .filter(|field| {
                field.cardinality() != Cardinality::Repeated && field.containing_oneof().is_some()
            })
            .map(|field| field.kind())
    };
    matches!(kind(value::NULL), Some(Kind::Enum(_)))
        && matches!(kind(value::NUMBER), Some(Kind::Double))
        && matches!(kind(value::STRING), Some(Kind::String))
        && matches!(kind(value::BOOL), Some(Kind::Bool))
        && kind(value::STRUCT).is_some_and(|kind| is_message(&kind, "google.protobuf.Struct"))
        && kind(value::LIST).is_some_and(|kind| is_message(&kind, "google.protobuf.ListValue"))
}
