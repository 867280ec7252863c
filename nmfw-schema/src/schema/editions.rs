//! Resolves the features of editions to flags that proto3 has, too.
//!
//! prost-reflect supports proto2 and proto3 only. A feature of a file applies to everything in it
//! that does not set another one. Three features matter for descriptors: field presence, the
//! encoding of repeated fields and that of messages.

use prost::Message;

use crate::schema::raw::{
    Enum, Field, File, LABEL_REPEATED, LABEL_REQUIRED, Msg, TYPE_BYTES, TYPE_GROUP, TYPE_MESSAGE,
    TYPE_STRING,
};

/// The editions whose defaults are those of [`Features::of_editions`], by name and number.
const SUPPORTED: [(&str, i32); 3] = [("2023", 1000), ("2024", 1001), ("2026", 1002)];

/// Returns whether an edition is supported.
pub(crate) fn is_supported(edition: i32) -> bool {
    SUPPORTED.iter().any(|(_, number)| *number == edition)
}

/// Returns the name of an edition.
pub(crate) fn name(edition: i32) -> Option<&'static str> {
    let found = SUPPORTED.iter().find(|(_, number)| *number == edition);
    found.map(|(name, _)| *name)
}

/// Lists the supported editions, for errors.
pub(crate) fn supported() -> String {
    SUPPORTED.map(|(name, _)| name).join(", ")
}

/// Features, numbered as in `google.protobuf.FeatureSet`. The enums begin at 1.
#[derive(Clone, Copy, PartialEq, Message)]
struct Features {
    #[prost(int32, optional, tag = "1")]
    field_presence: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    repeated_field_encoding: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    message_encoding: Option<i32>,
}

const EXPLICIT: i32 = 1;
const LEGACY_REQUIRED: i32 = 3;
const PACKED: i32 = 1;
const LENGTH_PREFIXED: i32 = 1;
const DELIMITED: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct FileOptions {
    #[prost(message, optional, tag = "50")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct MsgOptions {
    #[prost(message, optional, tag = "12")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldOptions {
    #[prost(message, optional, tag = "21")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct OneofOptions {
    #[prost(message, optional, tag = "1")]
    features: Option<Features>,
}

impl Features {
    fn of_editions() -> Self {
        Self {
            field_presence: Some(EXPLICIT),
            repeated_field_encoding: Some(PACKED),
            message_encoding: Some(LENGTH_PREFIXED),
        }
    }

    /// Returns the features of an element with these parents.
    fn with(self, inner: Option<Self>) -> Self {
        let inner = inner.unwrap_or_default();
        Self {
            field_presence: inner.field_presence.or(self.field_presence),
            repeated_field_encoding: inner
                .repeated_field_encoding
                .or(self.repeated_field_encoding),
            message_encoding: inner.message_encoding.or(self.message_encoding),
        }
    }
}

fn decode<T: Message + Default>(options: Option<&[u8]>) -> T {
    T::decode(options.unwrap_or_default()).unwrap_or_default()
}

/// Converts a file of an edition to a proto3 file with the same encoding and presence of fields.
///
/// A file with an enum that does not begin with zero becomes a proto2 file, in which fields
/// without presence gain it.
pub(crate) fn lower(file: &mut File) {
    let features = decode::<FileOptions>(file.options.as_deref()).features;
    let features = Features::of_editions().with(features);
    file.edition = None;
    let is_proto3 = file.enum_type.iter().all(begins_with_zero)
        && file.message_type.iter().all(enums_begin_with_zero);
    let syntax = if is_proto3 { "proto3" } else { "proto2" };
    file.syntax = Some(syntax.to_owned());
    for message in &mut file.message_type {
        lower_message(message, features, is_proto3);
    }
    for field in &mut file.extension {
        lower_field(field, features, &[], is_proto3);
    }
}

fn begins_with_zero(each: &Enum) -> bool {
    each.value.first().is_none_or(|first| first.number() == 0)
}

fn enums_begin_with_zero(message: &Msg) -> bool {
    message.enum_type.iter().all(begins_with_zero)
        && message.nested_type.iter().all(enums_begin_with_zero)
}

fn lower_message(message: &mut Msg, outer: Features, is_proto3: bool) {
    if message.is_map_entry() {
        return;
    }
    let features = outer.with(decode::<MsgOptions>(message.options.as_deref()).features);
    let map_entries: Vec<String> = message
        .nested_type
        .iter()
        .filter(|nested| nested.is_map_entry())
        .map(|nested| nested.name().to_owned())
        .collect();
    let of_oneofs: Vec<Option<Features>> = message
        .oneof_decl
        .iter()
        .map(|oneof| decode::<OneofOptions>(oneof.options.as_deref()).features)
        .collect();
    for field in &mut message.field {
        let of_oneof = field
            .oneof_index
            .and_then(|index| *of_oneofs.get(usize::try_from(index).ok()?)?);
        lower_field(field, features.with(of_oneof), &map_entries, is_proto3);
    }
    for field in &mut message.extension {
        lower_field(field, features, &[], is_proto3);
    }
    for nested in &mut message.nested_type {
        lower_message(nested, features, is_proto3);
    }
}

fn lower_field(field: &mut Field, outer: Features, map_entries: &[String], is_proto3: bool) {
    let features = outer.with(decode::<FieldOptions>(field.options.as_deref()).features);
    let type_name = field.type_name().rsplit('.').next().unwrap_or_default();
    let is_map = field.is_repeated() && map_entries.iter().any(|entry| entry == type_name);
    if field.r#type() == TYPE_MESSAGE && !is_map && features.message_encoding == Some(DELIMITED) {
        field.r#type = Some(TYPE_GROUP);
    }
    if field.label() == LABEL_REPEATED {
        if can_pack(field.r#type()) {
            let is_packed = features.repeated_field_encoding == Some(PACKED);
            // Field 2 of `FieldOptions`. The last occurrence on the wire counts.
            let packed = [2 << 3, u8::from(is_packed)];
            field.options.get_or_insert_default().extend(packed);
        }
        return;
    }
    if field.oneof_index.is_some() || field.extendee.is_some() {
        return;
    }
    match features.field_presence {
        Some(LEGACY_REQUIRED) => {
            field.label = Some(LABEL_REQUIRED);
            field.proto3_optional = is_proto3.then_some(true);
        }
        Some(EXPLICIT) if is_proto3 && field.r#type() != TYPE_MESSAGE => {
            field.proto3_optional = Some(true);
        }
        _ => {}
    }
}

fn can_pack(kind: i32) -> bool {
    !matches!(kind, TYPE_STRING | TYPE_BYTES | TYPE_MESSAGE | TYPE_GROUP)
}
