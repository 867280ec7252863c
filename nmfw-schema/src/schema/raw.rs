//! The messages of `descriptor.proto`, with options left encoded and with the fields of editions.
//!
//! `prost-types` has no editions, and drops custom options.

use prost::Message;
use prost_types::SourceCodeInfo;

/// The largest field number outside of message sets.
pub(crate) const MAX_FIELD: i32 = 536_870_911;

/// A `FileDescriptorSet`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) file: Vec<File>,
}

/// A `FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct File {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) package: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) dependency: Vec<String>,
    #[prost(int32, repeated, packed = "false", tag = "10")]
    pub(crate) public_dependency: Vec<i32>,
    #[prost(int32, repeated, packed = "false", tag = "11")]
    pub(crate) weak_dependency: Vec<i32>,
    /// `import option` of edition 2024.
    #[prost(string, repeated, tag = "15")]
    pub(crate) option_dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) message_type: Vec<Msg>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) enum_type: Vec<Enum>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) service: Vec<Service>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) extension: Vec<Field>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(crate) options: Option<Vec<u8>>,
    #[prost(message, optional, tag = "9")]
    pub(crate) source_code_info: Option<SourceCodeInfo>,
    #[prost(string, optional, tag = "12")]
    pub(crate) syntax: Option<String>,
    #[prost(int32, optional, tag = "14")]
    pub(crate) edition: Option<i32>,
}

/// A `DescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Msg {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) field: Vec<Field>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) extension: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) nested_type: Vec<Self>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) enum_type: Vec<Enum>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) extension_range: Vec<ExtensionRange>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) oneof_decl: Vec<Oneof>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(crate) options: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) reserved_range: Vec<Range>,
    #[prost(string, repeated, tag = "10")]
    pub(crate) reserved_name: Vec<String>,
    /// `export` or `local` of edition 2024.
    #[prost(int32, optional, tag = "11")]
    pub(crate) visibility: Option<i32>,
}

/// A `DescriptorProto.ExtensionRange`; `end` is exclusive.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExtensionRange {
    #[prost(int32, optional, tag = "1")]
    pub(crate) start: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) end: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) options: Option<Vec<u8>>,
}

/// A `DescriptorProto.ReservedRange`, whose `end` is exclusive, or an
/// `EnumDescriptorProto.EnumReservedRange`, whose `end` is inclusive.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Range {
    #[prost(int32, optional, tag = "1")]
    pub(crate) start: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) end: Option<i32>,
}

/// A `FieldDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub(crate) number: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) label: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub(crate) r#type: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(crate) type_name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) extendee: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(crate) default_value: Option<String>,
    #[prost(int32, optional, tag = "9")]
    pub(crate) oneof_index: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub(crate) json_name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(crate) options: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "17")]
    pub(crate) proto3_optional: Option<bool>,
}

/// A `OneofDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Oneof {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) options: Option<Vec<u8>>,
}

/// An `EnumDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Enum {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) value: Vec<EnumValue>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) options: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) reserved_range: Vec<Range>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) reserved_name: Vec<String>,
    /// `export` or `local` of edition 2024.
    #[prost(int32, optional, tag = "6")]
    pub(crate) visibility: Option<i32>,
}

/// An `EnumValueDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumValue {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) number: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) options: Option<Vec<u8>>,
}

/// A `ServiceDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Service {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) method: Vec<Method>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) options: Option<Vec<u8>>,
}

/// A `MethodDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Method {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) input_type: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) output_type: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) options: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) client_streaming: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(crate) server_streaming: Option<bool>,
}

pub(crate) const LABEL_OPTIONAL: i32 = 1;
pub(crate) const LABEL_REQUIRED: i32 = 2;
pub(crate) const LABEL_REPEATED: i32 = 3;

pub(crate) const TYPE_DOUBLE: i32 = 1;
pub(crate) const TYPE_FLOAT: i32 = 2;
pub(crate) const TYPE_STRING: i32 = 9;
pub(crate) const TYPE_GROUP: i32 = 10;
pub(crate) const TYPE_MESSAGE: i32 = 11;
pub(crate) const TYPE_BYTES: i32 = 12;
pub(crate) const TYPE_ENUM: i32 = 14;
pub(crate) const TYPE_MAX: i32 = 18;

/// The options that matter for the meaning of descriptors.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MsgOptions {
    #[prost(bool, optional, tag = "1")]
    pub(crate) message_set_wire_format: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) map_entry: Option<bool>,
}

impl Msg {
    /// Returns the options that matter here.
    pub(crate) fn known_options(&self) -> MsgOptions {
        let encoded = self.options.as_deref().unwrap_or_default();
        MsgOptions::decode(encoded).unwrap_or_default()
    }

    pub(crate) fn is_map_entry(&self) -> bool {
        self.options.is_some() && self.known_options().map_entry()
    }
}

impl Field {
    pub(crate) fn is_repeated(&self) -> bool {
        self.label() == LABEL_REPEATED
    }

    pub(crate) fn is_group(&self) -> bool {
        self.r#type() == TYPE_GROUP
    }
}
