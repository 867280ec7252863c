//! Base mode: a call is one NATS request, and its answer one NATS reply. Go nmfw, the `nats`
//! command line and all other NATS clients can use it.
//!
//! The encoding is pure: messages in, messages out.

mod client;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod stream_ack;

use async_nats::HeaderMap;

/// Returns the size of headers on the wire, which counts against `max_payload` like the body.
fn wire_len(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let fields = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + value.as_str().len() + ": \r\n".len())
    });
    "NATS/1.0\r\n\r\n".len() + fields.sum::<usize>()
}

/// Returns the size of a message as counted by `max_payload`.
pub(crate) fn size(headers: Option<&HeaderMap>, body: &[u8]) -> usize {
    headers.map_or(0, wire_len) + body.len()
}
