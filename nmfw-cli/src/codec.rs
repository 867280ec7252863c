//! Messages as JSON.

use nmfw_schema::prost_reflect::{
    DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use prost::Message;

/// How messages are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Over several lines.
    pub(crate) pretty: bool,
    /// With fields that have their default value.
    pub(crate) defaults: bool,
}

/// Encodes a JSON document as a message.
pub(crate) fn to_message(message: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize_with_options(
        message.clone(),
        &mut deserializer,
        &DeserializeOptions::new(),
    )
    .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(message.encode_to_vec())
}

/// Decodes a message, and returns it as JSON without characters that act on a terminal.
pub(crate) fn from_message(
    message: &MessageDescriptor,
    encoded: &[u8],
    style: Style,
) -> Result<String, String> {
    let message = DynamicMessage::decode(message.clone(), encoded);
    from_dynamic(&message.map_err(|error| error.to_string())?, style)
}

/// Returns a message as JSON without characters that act on a terminal.
pub(crate) fn from_dynamic(message: &DynamicMessage, style: Style) -> Result<String, String> {
    let options = SerializeOptions::new().skip_default_fields(!style.defaults);
    let mut json = Vec::new();
    let written = match style.pretty {
        true => {
            let mut serializer = serde_json::Serializer::pretty(&mut json);
            message.serialize_with_options(&mut serializer, &options)
        }
        false => {
            let mut serializer = serde_json::Serializer::new(&mut json);
            message.serialize_with_options(&mut serializer, &options)
        }
    };
    written.map_err(|error| error.to_string())?;
    let json = String::from_utf8(json).map_err(|error| error.to_string())?;
    Ok(crate::output::text::escape_json(&json))
}
