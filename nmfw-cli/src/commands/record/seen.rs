//! Reads requests and replies as they are on the wire in base mode: `PROTOCOL.md` of nmfw.

use nmfw::{
    Code, Metadata,
    async_nats::{HeaderMap, HeaderValue, Message},
    prost_types::Any,
};
use nmfw_schema::{Schema, prost_reflect::MethodDescriptor};
use serde_json::Value as Json;

use crate::{
    codec,
    recorded::{self, Outcome},
};

/// `google.rpc.Status`, the body of an error.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// What is in the headers of a request.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) metadata: Metadata,
    /// The time that the caller gave the call, in milliseconds.
    pub(super) timeout_ms: Option<u64>,
    is_json: bool,
}

impl Head {
    pub(super) fn of(message: &Message) -> Self {
        let mut head = Self::default();
        let Some(headers) = &message.headers else {
            return head;
        };
        head.is_json = is_json(headers);
        let nmfw = text(headers, "Nmfw").unwrap_or_default();
        let keys = nmfw.split(';').skip(1).map(str::trim);
        for (key, value) in keys.filter_map(|key| key.split_once('=')) {
            match (key.trim(), value.trim()) {
                ("t", millis) => head.timeout_ms = millis.parse().ok(),
                ("e", "j") => head.is_json = true,
                _ => {}
            }
        }
        for (name, values) in headers.iter() {
            for value in values {
                // Names that are reserved are not metadata.
                _ = head.metadata.append_wire(name.as_ref(), value.as_str());
            }
        }
        head
    }
}

/// Returns a request as JSON.
pub(super) fn request(
    method: &MethodDescriptor,
    head: &Head,
    message: &Message,
) -> Result<Json, String> {
    let encoded = match head.is_json {
        true => codec::to_message(&method.input(), &message.payload)?.into(),
        false => message.payload.clone(),
    };
    recorded::message(&method.input(), encoded)
}

/// Returns the answer in a reply.
pub(super) fn reply(
    schema: &Schema,
    method: &MethodDescriptor,
    message: &Message,
) -> Result<Outcome, String> {
    let empty = HeaderMap::new();
    let headers = message.headers.as_ref().unwrap_or(&empty);
    if message.status.is_some_and(|status| status.as_u16() == 503) {
        let text = "nothing answers there";
        return Ok(Outcome::of_error(Code::Unavailable, text, Vec::new()));
    }
    let error = text(headers, "Nats-Service-Error");
    if let Some(status) = text(headers, "Nmfw-Status") {
        let number = status.split(';').next().unwrap_or_default().trim();
        let code = number.parse().map_or(Code::Unknown, Code::from_number);
        return Ok(failure(schema, code, error, headers, message));
    }
    let code = text(headers, "Nats-Service-Error-Code");
    if error.is_some() || code.is_some() {
        let code = match code {
            Some("NO_IMPL") => Code::Unimplemented,
            Some("REQ_INVALID") => Code::InvalidArgument,
            Some(number) => number.parse().map_or(Code::Unknown, Code::from_http),
            None => Code::Unknown,
        };
        let text = error.unwrap_or_default();
        return Ok(Outcome::of_error(code, text, Vec::new()));
    }
    let encoded = match is_json(headers) {
        true => codec::to_message(&method.output(), &message.payload)?.into(),
        false => message.payload.clone(),
    };
    recorded::message(&method.output(), encoded).map(Outcome::of_response)
}

fn failure(
    schema: &Schema,
    code: Code,
    error: Option<&str>,
    headers: &HeaderMap,
    message: &Message,
) -> Outcome {
    if is_json(headers) {
        let status: Json = serde_json::from_slice(&message.payload).unwrap_or_default();
        let text = status["message"].as_str().or(error).unwrap_or_default();
        let details = status["details"].as_array().cloned().unwrap_or_default();
        return Outcome::of_error(code, text, details);
    }
    let status: RpcStatus = prost::Message::decode(&message.payload[..]).unwrap_or_default();
    let text = match status.message.is_empty() {
        true => error.unwrap_or_default(),
        false => &status.message,
    };
    let details = status.details.iter();
    let details = details.map(|detail| recorded::detail(schema, &detail.type_url, &detail.value));
    Outcome::of_error(code, text, details.collect())
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = text(headers, "Content-Type").unwrap_or_default();
    let kind = content.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_str)
}
