//! Messages as JSON.

use nmfw_schema::{
    json::{self, JsonOptions},
    prost_reflect::{DynamicMessage, MessageDescriptor},
};

use crate::output::text::escape_json;

/// How messages are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Over several lines.
    pub(crate) pretty: bool,
    /// With fields that have their default value.
    pub(crate) defaults: bool,
}

impl Style {
    fn options(self) -> JsonOptions {
        JsonOptions::new()
            .pretty(self.pretty)
            .default_values(self.defaults)
    }
}

/// Encodes a JSON document as a message.
pub(crate) fn to_message(message: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, String> {
    json::to_message(message, json, &JsonOptions::new()).map_err(|error| error.to_string())
}

/// Decodes a message, and returns it as JSON without characters that act on a terminal.
pub(crate) fn from_message(
    message: &MessageDescriptor,
    encoded: bytes::Bytes,
    style: Style,
) -> Result<String, String> {
    let json = json::from_message(message, encoded, &style.options());
    text(&json.map_err(|error| error.to_string())?)
}

/// Returns a message as JSON without characters that act on a terminal.
pub(crate) fn from_dynamic(message: &DynamicMessage, style: Style) -> Result<String, String> {
    let json = json::from_dynamic(message, &style.options());
    text(&json.map_err(|error| error.to_string())?)
}

fn text(json: &[u8]) -> Result<String, String> {
    let json = std::str::from_utf8(json).map_err(|error| error.to_string())?;
    Ok(escape_json(json))
}
