//! [`StreamAck`]: JetStream's acknowledgement of a request that a stream has captured.

use async_nats::Message;
use serde::Deserialize;

use nmfw_core::{escape::Escaped, log_limit::LogLimit};

/// Maximum length of an acknowledgement in bytes: the name of a stream, a domain, and an error.
const MAX_LEN: usize = 4096;

/// Maximum length of a warning's text, in bytes.
const MAX_SHOWN: usize = 1024;

/// An acknowledgement of JetStream: `{"stream":"ORDERS","seq":7}`.
///
/// A stream whose subjects cover those of a service acknowledges each request on its reply subject,
/// usually before the service answers. Such a reply is skipped, because it cannot be an answer:
/// read as protobuf, `{"s` begins a group of field 15 containing a field of 115 bytes, after which
/// the group would have to end with a `|`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamAck {
    pub(crate) stream: String,
}

#[derive(Deserialize)]
struct PubAckFields {
    stream: String,
    /// Zero if there is an error, for example from a full stream.
    #[serde(rename = "seq")]
    _sequence: u64,
}

impl StreamAck {
    pub(crate) fn of(message: &Message) -> Option<Self> {
        // Nearly all other replies differ in their first byte.
        let ack = Self::read(&message.payload)?;
        (message.status.is_none() && message.headers.is_none()).then_some(ack)
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        if payload.first() != Some(&b'{') || payload.len() > MAX_LEN {
            return None;
        }
        let fields: PubAckFields = serde_json::from_slice(payload).ok()?;
        Some(Self {
            stream: fields.stream,
        })
    }

    /// Describes the problem and its solution.
    pub(crate) fn describe(&self, subject: &str) -> String {
        format!(
            "a JetStream stream captures {subject}: its acknowledgement arrived first, and hides \
             whether any instance serves the subject. Remove the subject from the stream {:?}",
            self.stream
        )
    }

    /// Logs a warning about the stream, at a limited rate, because it stores what it captures.
    pub(crate) fn warn(&self, subject: &str, limit: &LogLimit) {
        if let Some(left_out) = limit.pass() {
            tracing::warn!(
                stream = %Escaped::new(&self.stream),
                left_out,
                "{}, which stores all messages on it",
                Escaped::up_to(&self.describe(subject), MAX_SHOWN)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jetstream_sends() {
        for payload in [
            r#"{"stream":"ORDERS", "seq":7}"#,
            r#"{"stream":"ORDERS","seq":7,"domain":"hub","duplicate":true}"#,
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"ORDERS","seq":0}"#,
        ] {
            let ack = StreamAck::read(payload.as_bytes()).expect(payload);
            assert_eq!(ack.stream, "ORDERS");
        }
    }

    #[test]
    fn what_is_none() {
        let long = format!(r#"{{"stream":"{}","seq":7}}"#, "x".repeat(MAX_LEN));
        for payload in [
            "",
            "{",
            "{}",
            r#"{"stream":"ORDERS"}"#,
            r#"{"stream":7,"seq":7}"#,
            r#"{"type":"io.nats.micro.v1.info_response","name":"calc"}"#,
            r#"{"stream":"ORDERS","seq":7} "x"#,
            long.as_str(),
        ] {
            assert_eq!(StreamAck::read(payload.as_bytes()), None, "{payload}");
        }
    }

    proptest::proptest! {
        /// An acknowledgement is not a valid message of any type, so it can be skipped.
        #[test]
        fn an_acknowledgement_is_no_message(stream in "[0-9A-Za-z_-]{1,255}", sequence: u64) {
            let payload = format!(r#"{{"stream":"{stream}","seq":{sequence}}}"#);
            proptest::prop_assert!(StreamAck::read(payload.as_bytes()).is_some());
            proptest::prop_assert!(<() as prost::Message>::decode(payload.as_bytes()).is_err());
        }
    }
}
