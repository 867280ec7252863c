//! Lowers editions to proto2 and proto3, the only syntaxes that prost-build supports.
//!
//! A feature of a file applies to everything in it that does not set another one. Three features
//! matter: field presence, the encoding of repeated fields and that of messages. The others have no
//! effect, because prost always checks strings, and all its enums are open.

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions};

/// The editions whose defaults are those of [`Features::default_of_editions`], by name and number.
const SUPPORTED: [(&str, i32); 3] = [("2023", 1000), ("2024", 1001), ("2026", 1002)];

/// Returns the number of an edition, if it is supported.
pub(crate) fn number(name: &str) -> Option<i32> {
    let found = SUPPORTED.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number)
}

pub(crate) fn is_supported(edition: i32) -> bool {
    SUPPORTED.iter().any(|(_, number)| *number == edition)
}

/// Lists the supported editions, for errors.
pub(crate) fn supported() -> String {
    SUPPORTED.map(|(name, _)| name).join(", ")
}

/// The features that matter here, numbered as in `google.protobuf.FeatureSet`. The enums begin at
/// 1.
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

impl Features {
    fn default_of_editions() -> Self {
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

// The parts of descriptor.proto that lead to features, which `prost-types` does not represent.

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Msg>,
    #[prost(message, optional, tag = "8")]
    options: Option<FileOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct FileOptions {
    #[prost(message, optional, tag = "50")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Msg {
    #[prost(message, repeated, tag = "2")]
    field: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    nested_type: Vec<Self>,
    #[prost(message, optional, tag = "7")]
    options: Option<MsgOptions>,
    #[prost(message, repeated, tag = "8")]
    oneof_decl: Vec<Oneof>,
}

#[derive(Clone, PartialEq, Message)]
struct MsgOptions {
    #[prost(message, optional, tag = "12")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(message, optional, tag = "8")]
    options: Option<FieldOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldOptions {
    #[prost(message, optional, tag = "21")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Oneof {
    #[prost(message, optional, tag = "2")]
    options: Option<OneofOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct OneofOptions {
    #[prost(message, optional, tag = "1")]
    features: Option<Features>,
}

/// Converts a file of an edition to a proto3 file with the same meaning for prost-build. `encoded`
/// is the same file.
pub(crate) fn lower(file: &mut FileDescriptorProto, encoded: &[u8]) {
    let features = File::decode(encoded).unwrap_or_default();
    let of_file = features.options.and_then(|options| options.features);
    let of_file = Features::default_of_editions().with(of_file);
    file.syntax = Some("proto3".to_owned());
    for (message, features) in file.message_type.iter_mut().zip(&features.message_type) {
        lower_message(message, features, of_file);
    }
}

fn lower_message(message: &mut DescriptorProto, parts: &Msg, outer: Features) {
    let is_map_entry = |message: &DescriptorProto| {
        message
            .options
            .as_ref()
            .is_some_and(MessageOptions::map_entry)
    };
    if is_map_entry(message) {
        return;
    }
    let options = parts.options.as_ref();
    let features = outer.with(options.and_then(|options| options.features));
    let map_entries: Vec<String> = message
        .nested_type
        .iter()
        .filter(|nested| is_map_entry(nested))
        .map(|nested| nested.name().to_owned())
        .collect();
    for (index, field) in message.field.iter_mut().enumerate() {
        let own = parts
            .field
            .get(index)
            .and_then(|field| field.options.as_ref()?.features);
        let oneof = field
            .oneof_index
            .and_then(|index| parts.oneof_decl.get(usize::try_from(index).ok()?));
        let of_oneof = oneof.and_then(|oneof| oneof.options.as_ref()?.features);
        lower_field(field, features.with(of_oneof).with(own), &map_entries);
    }
    for (nested, parts) in message.nested_type.iter_mut().zip(&parts.nested_type) {
        lower_message(nested, parts, features);
    }
}

fn lower_field(field: &mut FieldDescriptorProto, features: Features, map_entries: &[String]) {
    let type_name = field.type_name().rsplit('.').next().unwrap_or_default();
    let is_map =
        field.label() == Label::Repeated && map_entries.iter().any(|entry| entry == type_name);
    if field.r#type() == Type::Message && !is_map && features.message_encoding == Some(DELIMITED) {
        field.set_type(Type::Group);
    }
    match field.label() {
        Label::Repeated if can_pack(field.r#type()) => {
            let options = field.options.get_or_insert_default();
            options.packed = Some(features.repeated_field_encoding == Some(PACKED));
        }
        Label::Optional if field.oneof_index.is_none() => match features.field_presence {
            Some(LEGACY_REQUIRED) => field.set_label(Label::Required),
            Some(EXPLICIT) => field.proto3_optional = Some(true),
            // A message field always has presence.
            _ if field.r#type() == Type::Group => field.proto3_optional = Some(true),
            _ => {}
        },
        _ => {}
    }
}

fn can_pack(kind: Type) -> bool {
    !matches!(
        kind,
        Type::String | Type::Bytes | Type::Message | Type::Group
    )
}
