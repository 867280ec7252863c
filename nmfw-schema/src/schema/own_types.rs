//! Checks a set's own `google/protobuf/descriptor.proto`.
//!
//! prost-reflect decodes options as the set's own types, encodes them again, and panics if the
//! result is not decodable as the real types.

use std::collections::HashMap;

use prost_reflect::{Kind, MessageDescriptor, ReflectMessage};
use prost_types::FileDescriptorProto;

use crate::SchemaError;
use crate::schema::check::join;
use crate::schema::raw::{
    Field, File, FileSet, LABEL_REPEATED, Msg, TYPE_BYTES, TYPE_ENUM, TYPE_MESSAGE, TYPE_STRING,
};

/// Checks that the set's definitions of messages in `descriptor.proto` are compatible with the
/// real ones.
///
/// # Errors
/// Fails if a field has another type.
pub(crate) fn check(set: &FileSet) -> Result<(), SchemaError> {
    let mut real = HashMap::new();
    for message in FileDescriptorProto::default()
        .descriptor()
        .parent_file()
        .messages()
    {
        add(message, &mut real);
    }
    for file in &set.file {
        for message in &file.message_type {
            messages(message, file.package(), &real)?;
        }
        extensions(file, &real)?;
    }
    Ok(())
}

type Real = HashMap<String, MessageDescriptor>;

fn add(message: MessageDescriptor, real: &mut Real) {
    for nested in message.child_messages() {
        add(nested, real);
    }
    real.insert(message.full_name().to_owned(), message);
}

fn messages(message: &Msg, scope: &str, real: &Real) -> Result<(), SchemaError> {
    let full_name = join(scope, message.name());
    if let Some(real) = real.get(&full_name) {
        for field in &message.field {
            fields(field, real)?;
        }
    }
    for nested in &message.nested_type {
        messages(nested, &full_name, real)?;
    }
    for field in &message.extension {
        extension(field, real)?;
    }
    Ok(())
}

fn extensions(file: &File, real: &Real) -> Result<(), SchemaError> {
    for field in &file.extension {
        extension(field, real)?;
    }
    Ok(())
}

fn extension(field: &Field, real: &Real) -> Result<(), SchemaError> {
    match real.get(field.extendee().trim_start_matches('.')) {
        Some(real) => fields(field, real),
        None => Ok(()),
    }
}

fn fields(field: &Field, message: &MessageDescriptor) -> Result<(), SchemaError> {
    let Some(real) = u32::try_from(field.number())
        .ok()
        .and_then(|number| message.get_field(number))
    else {
        return Ok(());
    };
    let is_same_kind = match real.kind() {
        Kind::String => matches!(field.r#type(), TYPE_STRING | TYPE_BYTES),
        // An enum is encoded as an integer.
        Kind::Enum(_) => field.r#type() == TYPE_ENUM,
        Kind::Message(message) => {
            field.r#type() == TYPE_MESSAGE
                && field.type_name().trim_start_matches('.') == message.full_name()
        }
        _ => real.field_descriptor_proto().r#type == field.r#type,
    };
    if is_same_kind && real.is_list() == (field.label() == LABEL_REPEATED) {
        return Ok(());
    }
    Err(SchemaError::new(format!(
        "the descriptor set is not valid: its `{}.{}` is not the one of protobuf",
        message.full_name(),
        field.name()
    )))
}
