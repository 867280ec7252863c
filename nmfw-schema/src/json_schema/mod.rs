//! JSON Schema (2020-12) of messages in the protobuf JSON mapping.
//!
//! The schema describes the documents that [`json`](crate::json) writes with its default options.
//! It is somewhat stricter than what is read: names of fields are only those in camel case, `null`
//! is not a value, and integers of 32 bits are not strings.
//!
//! ```
//! use nmfw_schema::{Schema, json_schema};
//!
//! # fn main() -> Result<(), nmfw_schema::SchemaError> {
//! let schema = Schema::compile(["calc.proto"], ["../proto"])?;
//! let request = schema.message("calc.AddRequest").expect("the message exists");
//! let document = json_schema::message(&request);
//! assert!(document.contains(r##""$ref": "#/$defs/calc.AddRequest""##));
//! # Ok(())
//! # }
//! ```

mod comments;
mod node;

use std::collections::BTreeSet;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor, Value,
};

use crate::json::well_known::{WellKnown, is_null_value};
use comments::Comments;
use node::Node;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Returns the JSON Schema of a message, as a document indented by two spaces.
///
/// The message and those that it contains are in `$defs`, by their full names. Comments become
/// descriptions.
#[must_use]
pub fn message(message: &MessageDescriptor) -> String {
    let mut generator = Generator::default();
    let root = generator.reference(message);
    let mut definitions = Vec::new();
    while let Some(left) = generator.left.pop() {
        definitions.push(match left {
            Left::Message(message) => {
                let definition = generator.definition(&message);
                (message.full_name().to_owned(), definition)
            }
            Left::Enum(desc) => {
                let definition = generator.enumeration(&desc);
                (desc.full_name().to_owned(), definition)
            }
        });
    }
    definitions.sort_by(|(a, _), (b, _)| a.cmp(b));
    let document = Node::object([("$schema", DIALECT.into())])
        .with("title", message.full_name())
        .with("$ref", root)
        .with("$defs", Node::Object(definitions));
    // Writing to memory does not fail.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[derive(Default)]
struct Generator {
    comments: Comments,
    /// The full names of the types that have a definition, or will have one.
    seen: BTreeSet<String>,
    left: Vec<Left>,
}

/// A type that needs a definition.
enum Left {
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

impl Generator {
    fn reference(&mut self, message: &MessageDescriptor) -> String {
        if self.seen.insert(message.full_name().to_owned()) {
            self.left.push(Left::Message(message.clone()));
        }
        format!("#/$defs/{}", message.full_name())
    }

    fn definition(&mut self, message: &MessageDescriptor) -> Node {
        if let Some(form) = WellKnown::of(message) {
            return well_known(form, message);
        }
        let mut node = Node::of_type("object").with("title", message.name());
        let comment = self.comments.of(&message.parent_file(), message.path());
        if let Some(comment) = comment {
            node = node.with("description", comment);
        }
        let options = message.descriptor_proto().options.as_ref();
        if options.is_some_and(prost_types::MessageOptions::deprecated) {
            node = node.with("deprecated", true);
        }
        let mut properties = Vec::new();
        let mut required = Vec::new();
        for field in message.fields() {
            properties.push((field.json_name().to_owned(), self.property(&field)));
            if field.cardinality() == Cardinality::Required {
                required.push(field.json_name().into());
            }
        }
        node = node.with("properties", Node::Object(properties));
        if !required.is_empty() {
            node = node.with("required", required);
        }
        if message.extension_ranges().len() > 0 {
            // The names of extensions are in brackets.
            let pattern = Node::object([("^\\[.+\\]$", Node::Bool(true))]);
            node = node.with("patternProperties", pattern);
        }
        node = node.with("additionalProperties", false);
        let oneofs: Vec<Node> = message
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic() && oneof.fields().len() > 1)
            .map(|oneof| at_most_one(&oneof))
            .collect();
        if !oneofs.is_empty() {
            node = node.with("allOf", oneofs);
        }
        node
    }

    fn property(&mut self, field: &FieldDescriptor) -> Node {
        let kind = field.kind();
        let mut node = match &kind {
            Kind::Message(entry) if field.is_map() => {
                let value = self.element(&entry.map_entry_value_field().kind());
                map(&entry.map_entry_key_field().kind(), value)
            }
            kind if field.is_list() => Node::of_type("array").with("items", self.element(kind)),
            kind => self.element(kind),
        };
        let comment = self.comments.of(&field.parent_file(), field.path());
        if let Some(comment) = comment {
            node = node.with("description", comment);
        }
        let options = field.field_descriptor_proto().options.as_ref();
        if options.is_some_and(prost_types::FieldOptions::deprecated) {
            node = node.with("deprecated", true);
        }
        if field.field_descriptor_proto().default_value.is_some()
            && let Some(default) = default_value(&field.default_value(), &kind)
        {
            node = node.with("default", default);
        }
        node
    }

    fn element(&mut self, kind: &Kind) -> Node {
        match kind {
            Kind::Message(message) => Node::object([("$ref", self.reference(message).into())]),
            Kind::Enum(desc) => {
                if self.seen.insert(desc.full_name().to_owned()) {
                    self.left.push(Left::Enum(desc.clone()));
                }
                Node::object([("$ref", format!("#/$defs/{}", desc.full_name()).into())])
            }
            kind => scalar(kind),
        }
    }

    fn enumeration(&mut self, desc: &EnumDescriptor) -> Node {
        if is_null_value(desc) {
            return Node::of_type("null");
        }
        let names = desc.values().map(|value| value.name().into()).collect();
        // An unknown value is a number.
        let node = Node::object([(
            "anyOf",
            vec![
                Node::object([("enum", Node::List(names))]),
                integer(i32::MIN.into(), i32::MAX.into()),
            ]
            .into(),
        )])
        .with("title", desc.name());
        let mut lines = Vec::new();
        let file = desc.parent_file();
        lines.extend(self.comments.of(&file, desc.path()));
        for value in desc.values() {
            if let Some(comment) = self.comments.of(&file, value.path()) {
                lines.push(format!("{}: {comment}", value.name()));
            }
        }
        if lines.is_empty() {
            node
        } else {
            node.with("description", lines.join("\n"))
        }
    }
}

fn integer(minimum: i128, maximum: i128) -> Node {
    Node::of_type("integer")
        .with("minimum", Node::Integer(minimum))
        .with("maximum", Node::Integer(maximum))
}

fn scalar(kind: &Kind) -> Node {
    // A string in the default form; a number is possible as well.
    let long = |minimum: i128, maximum: i128, pattern: &str| {
        Node::object([("type", vec!["string".into(), "integer".into()].into())])
            .with("pattern", pattern)
            .with("minimum", Node::Integer(minimum))
            .with("maximum", Node::Integer(maximum))
    };
    match kind {
        Kind::Double | Kind::Float => Node::object([(
            "anyOf",
            vec![
                Node::of_type("number"),
                Node::object([(
                    "enum",
                    vec!["NaN".into(), "Infinity".into(), "-Infinity".into()].into(),
                )]),
            ]
            .into(),
        )]),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(i32::MIN.into(), i32::MAX.into()),
        Kind::Uint32 | Kind::Fixed32 => integer(0, u32::MAX.into()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            long(i64::MIN.into(), i64::MAX.into(), "^-?[0-9]+$")
        }
        Kind::Uint64 | Kind::Fixed64 => long(0, u64::MAX.into(), "^[0-9]+$"),
        Kind::Bool => Node::of_type("boolean"),
        Kind::Bytes => Node::of_type("string").with("contentEncoding", "base64"),
        // Enums and messages are no scalars.
        Kind::String | Kind::Enum(_) | Kind::Message(_) => Node::of_type("string"),
    }
}

fn map(key: &Kind, value: Node) -> Node {
    let node = Node::of_type("object");
    let names = match key {
        Kind::String => None,
        Kind::Bool => Some(Node::object([(
            "enum",
            vec!["true".into(), "false".into()].into(),
        )])),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => {
            Some(Node::object([("pattern", "^[0-9]+$".into())]))
        }
        _ => Some(Node::object([("pattern", "^-?[0-9]+$".into())])),
    };
    match names {
        Some(names) => node.with("propertyNames", names),
        None => node,
    }
    .with("additionalProperties", value)
}

/// Returns a schema that allows one field of a oneof, or none.
fn at_most_one(oneof: &OneofDescriptor) -> Node {
    let has = |field: FieldDescriptor| {
        Node::object([("required", vec![field.json_name().into()].into())])
    };
    let mut cases: Vec<Node> = oneof.fields().map(has).collect();
    let none = Node::object([("anyOf", cases.clone().into())]);
    cases.push(Node::object([("not", none)]));
    Node::object([("oneOf", cases.into())])
}

fn well_known(form: WellKnown, message: &MessageDescriptor) -> Node {
    match form {
        WellKnown::Any => Node::of_type("object")
            .with(
                "properties",
                Node::object([("@type", Node::of_type("string"))]),
            )
            .with(
                "description",
                "A message, with its type in \"@type\", such as \"type.googleapis.com/package.Message\".",
            ),
        WellKnown::Timestamp => Node::of_type("string").with("format", "date-time"),
        WellKnown::Duration => {
            Node::of_type("string").with("pattern", "^-?[0-9]+(\\.[0-9]{1,9})?s$")
        }
        WellKnown::FieldMask => Node::of_type("string")
            .with("description", "Paths of fields in camel case, separated by commas."),
        WellKnown::Struct => Node::of_type("object"),
        WellKnown::Value => Node::Object(Vec::new()),
        WellKnown::ListValue => Node::of_type("array"),
        WellKnown::Wrapper => message
            .get_field(1)
            .map_or(Node::Bool(true), |field| scalar(&field.kind())),
    }
}

/// Returns a default value, unless JSON has no form for it.
fn default_value(value: &Value, kind: &Kind) -> Option<Node> {
    Some(match (value, kind) {
        (Value::Bool(value), _) => (*value).into(),
        (Value::I32(value), _) => Node::Integer((*value).into()),
        (Value::U32(value), _) => Node::Integer((*value).into()),
        (Value::I64(value), _) => value.to_string().into(),
        (Value::U64(value), _) => value.to_string().into(),
        (Value::F32(value), _) if value.is_finite() => Node::Number(f64::from(*value)),
        (Value::F64(value), _) if value.is_finite() => Node::Number(*value),
        (Value::String(value), _) => value.as_str().into(),
        (Value::EnumNumber(number), Kind::Enum(desc)) => desc.get_value(*number)?.name().into(),
        _ => return None,
    })
}
