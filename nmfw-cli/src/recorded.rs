//! [`Recorded`]: a call in a file of `nmfw record`, one JSON document a line.

use std::collections::BTreeMap;

use nmfw::{Code, Metadata, Status};
use nmfw_schema::{
    Schema,
    prost_reflect::{DynamicMessage, MessageDescriptor},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::codec::{self, Style};

/// A call, as it was seen or made.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recorded {
    /// The time of the request, in RFC 3339.
    pub(crate) time: String,
    /// The full name of the method, `calc.Calc/Add`.
    pub(crate) method: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) request: Json,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// The time until the answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<f64>,
}

/// The answer of a call: one of these, or none if none was seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Json>,
}

/// The JSON of recorded messages.
const STYLE: Style = Style {
    pretty: false,
    defaults: false,
};

impl Outcome {
    /// Returns whether no answer was seen.
    pub(crate) fn is_unknown(&self) -> bool {
        self.response.is_none() && self.status.is_none()
    }

    pub(crate) fn of_response(response: Json) -> Self {
        Self {
            response: Some(response),
            status: None,
        }
    }

    pub(crate) fn of_status(schema: &Schema, status: &Status) -> Self {
        let details = status.details().iter();
        let details: Vec<_> = details
            .map(|detail| self::detail(schema, &detail.type_url, &detail.value))
            .collect();
        Self::of_error(status.code(), status.message(), details)
    }

    pub(crate) fn of_error(code: Code, message: &str, details: Vec<Json>) -> Self {
        let mut status = json!({ "code": code.name(), "message": message });
        if !details.is_empty() {
            status["details"] = Json::Array(details);
        }
        Self {
            response: None,
            status: Some(status),
        }
    }
}

/// Returns a detail of a status: its fields if the schema has its type, otherwise its bytes.
pub(crate) fn detail(schema: &Schema, type_url: &str, value: &[u8]) -> Json {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let message = schema.message(name);
    let message = message.and_then(|message| DynamicMessage::decode(message, value).ok());
    let mut detail = match message.and_then(|message| codec::from_dynamic(&message, STYLE).ok()) {
        Some(text) => match serde_json::from_str(&text) {
            Ok(Json::Object(fields)) => Json::Object(fields),
            Ok(other) => json!({ "value": other }),
            Err(_) => json!({}),
        },
        None => json!({ "bytes": value.len() }),
    };
    detail["@type"] = Json::String(type_url.to_owned());
    detail
}

/// Returns an encoded message as JSON.
pub(crate) fn message(
    descriptor: &MessageDescriptor,
    encoded: bytes::Bytes,
) -> Result<Json, String> {
    let text = codec::from_message(descriptor, encoded, STYLE)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Returns metadata as in a file.
pub(crate) fn metadata(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in metadata.wire() {
        map.entry(key.to_owned()).or_default().push(value);
    }
    map
}
