//! Any bytes as an answer of discovery.

use async_nats::Message;
use bytes::Bytes;
use serde_json::Value;

use crate::nats::ready::serves;

/// What a client that waits for a service reads of INFO: it takes a service for ready only if the answer names a
/// subject below that of the service.
pub fn discovery(bytes: &[u8]) {
    const BASE: &str = "nmfw.calc";
    let message = Message {
        subject: "reply".into(),
        reply: None,
        payload: Bytes::copy_from_slice(bytes),
        headers: None,
        status: None,
        description: None,
        length: 0,
    };
    if !serves(&message, BASE) {
        return;
    }
    // What a client does not read may be wrong: an escape in the name of another field, say.
    let Ok(info) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let list = |name: &str| {
        info.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let endpoints = list("endpoints").filter_map(|endpoint| match endpoint {
        // serde takes a list of the values, too.
        Value::Array(values) => values.first(),
        endpoint => endpoint.get("subject"),
    });
    let mut subjects = endpoints.chain(list("subjects")).filter_map(Value::as_str);
    let is_below = |subject: &str| subject.starts_with("nmfw.calc.");
    assert!(info.is_array() || subjects.any(is_below), "{info}");
}
