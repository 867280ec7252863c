//! Finds out why an option does not compile, which protox knows and keeps to itself.

use std::error::Error as _;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use protox::file::File;

/// What there is to say about an option besides the error.
#[derive(Debug, Default)]
pub(crate) struct Reason {
    /// What is wrong with the value.
    pub(crate) cause: Option<String>,
    pub(crate) help: Option<String>,
}

/// Compiles a file a second time, in the pool where it failed, for an error that still has its cause.
pub(crate) fn find(error: &protox::Error, file: Option<File>, mut pool: DescriptorPool) -> Reason {
    let Some(file) = file.filter(|_| !error.is_parse()) else {
        return Reason::default();
    };
    let again = pool.add_file_descriptor_proto(file.into()).err();
    let cause = again.and_then(|error| Some(error.source()?.to_string()));
    let message = match &cause {
        Some(cause) => message_of_field(cause, &pool),
        None => message_of_option(&error.to_string(), &pool),
    };
    let help = message.map(|message| {
        let names: Vec<String> = message
            .fields()
            .map(|field| format!("`{}`", field.name()))
            .collect();
        format!("`{}` has {}", message.full_name(), names.join(", "))
    });
    Reason { cause, help }
}

/// The message that lacks a field, of the text `field 'x' not found for message 'a.B'`.
fn message_of_field(cause: &str, pool: &DescriptorPool) -> Option<MessageDescriptor> {
    let (_, name) = cause.split_once("not found for message '")?;
    pool.get_message_by_name(name.strip_suffix('\'')?)
}

/// The message that lacks a field, of the text `option field '(a.b).x' is not defined`.
fn message_of_option(error: &str, pool: &DescriptorPool) -> Option<MessageDescriptor> {
    let path = error.strip_prefix("option field '(")?;
    let (extension, _) = path.strip_suffix("' is not defined")?.split_once(").")?;
    match pool.get_extension_by_name(extension)?.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}
