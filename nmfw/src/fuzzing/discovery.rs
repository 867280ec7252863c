//! Fuzz target for answers of discovery.

use async_nats::Message;
use bytes::Bytes;
use serde_json::Value;

use crate::nats::ready::serves;

/// Reads bytes as an INFO answer, like a client that waits for a service: the service is ready only
/// if the answer lists a subject below the service's.
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
    // Fields that the client ignores may be invalid, for example an escape in another field's name.
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
        // serde also accepts a list of the values.
        Value::Array(values) => values.first(),
        endpoint => endpoint.get("subject"),
    });
    let mut subjects = endpoints.chain(list("subjects")).filter_map(Value::as_str);
    let is_below = |subject: &str| subject.starts_with("nmfw.calc.");
    assert!(info.is_array() || subjects.any(is_below), "{info}");
}
