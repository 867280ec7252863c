//! Lists the existing fields when an option names one that does not exist.

use std::error::Error as _;

use prost_reflect::{DescriptorError, DescriptorPool, Kind, MessageDescriptor};

/// Returns a hint with the fields of the message that lacks one.
pub(crate) fn help(error: &DescriptorError, pool: &DescriptorPool) -> Option<String> {
    let message = match error.source() {
        Some(cause) => message_of_field(&cause.to_string(), pool),
        None => message_of_option(&error.to_string(), pool),
    }?;
    let names: Vec<String> = message
        .fields()
        .map(|field| format!("`{}`", field.name()))
        .collect();
    Some(format!(
        "`{}` has {}",
        message.full_name(),
        names.join(", ")
    ))
}

/// Finds the message in the text `field 'x' not found for message 'a.B'`.
fn message_of_field(cause: &str, pool: &DescriptorPool) -> Option<MessageDescriptor> {
    let (_, name) = cause.split_once("not found for message '")?;
    pool.get_message_by_name(name.strip_suffix('\'')?)
}

/// Finds the message in the text `option field '(a.b).x' is not defined`.
fn message_of_option(error: &str, pool: &DescriptorPool) -> Option<MessageDescriptor> {
    let path = error.strip_prefix("option field '(")?;
    let (extension, _) = path.strip_suffix("' is not defined")?.split_once(").")?;
    match pool
        .get_extension_by_name(extension.trim_start_matches('.'))?
        .kind()
    {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}
