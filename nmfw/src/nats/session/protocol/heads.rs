//! Heads of recent calls. Nearly all calls of a session have the head of an earlier one, except for
//! their time left, so that each side encodes or decodes few of them.

use std::time::Instant;

use bytes::Bytes;
use smol_str::SmolStr;

use super::body::{CallHead, MethodEntry, Methods, UnreadCall};
use crate::Status;
use nmfw_core::call::{body::wire::Malformed, request::Encoding};

/// Number of heads that a session keeps.
const MOST: usize = 8;

/// Maximum length of an encoded head that is kept. Its content is the peer's choice.
const MAX_LEN: usize = 256;

/// The latest of several values.
#[derive(Debug)]
struct Recent<T> {
    values: Vec<T>,
    oldest: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            oldest: 0,
        }
    }
}

impl<T> Recent<T> {
    fn find(&self, mut is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.values.iter().find(|value| is(value))
    }

    fn put(&mut self, value: T) {
        if self.values.len() < MOST {
            self.values.push(value);
        } else if let Some(oldest) = self.values.get_mut(self.oldest) {
            *oldest = value;
            self.oldest = (self.oldest + 1) % MOST;
        }
    }
}

/// The encoded heads of calls that this side makes.
#[derive(Debug, Default)]
pub(super) struct SentHeads(Recent<SentHead>);

#[derive(Debug)]
struct SentHead {
    method: SmolStr,
    client_version: Option<SmolStr>,
    encoded: Bytes,
}

impl SentHeads {
    /// Returns the body of a CALL without the time left, which comes first.
    pub(super) fn encode(&mut self, head: &CallHead) -> Bytes {
        if !head.is_common() || head.encoding != Encoding::Protobuf {
            return head.encode().into();
        }
        let is_same = |known: &SentHead| {
            let versions = (known.client_version.as_ref(), head.client_version.as_ref());
            is_same(&known.method, &head.method)
                && match versions {
                    (Some(known), Some(version)) => is_same(known, version),
                    (None, None) => true,
                    _ => false,
                }
        };
        if let Some(known) = self.0.find(is_same) {
            return known.encoded.clone();
        }
        let encoded = Bytes::from(head.encode());
        self.0.put(SentHead {
            method: head.method.clone(),
            client_version: head.client_version.clone(),
            encoded: encoded.clone(),
        });
        encoded
    }
}

/// Compares texts, which are nearly always the same static ones.
fn is_same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

/// The heads of calls that the peer makes.
#[derive(Debug, Default)]
pub(super) struct ReceivedHeads(Recent<ReceivedHead>);

#[derive(Debug)]
struct ReceivedHead {
    encoded: Box<[u8]>,
    method: MethodEntry,
    head: CallHead,
}

impl ReceivedHeads {
    /// Decodes a CALL. The inner error, for a call that cannot be served, is for its caller.
    pub(super) fn decode(
        &mut self,
        call: UnreadCall<'_>,
        methods: &Methods,
        now: Instant,
    ) -> Result<Result<(MethodEntry, CallHead), Status>, Malformed> {
        let (encoded, deadline) = (call.head(), call.deadline(now));
        if let Some(known) = self.0.find(|known| *known.encoded == *encoded) {
            return Ok(Ok((known.method, known.head.again(deadline))));
        }
        let outcome = call.read()?.into_head(methods, deadline);
        if let Ok((method, head)) = &outcome
            && head.is_common()
            && encoded.len() <= MAX_LEN
        {
            self.0.put(ReceivedHead {
                encoded: encoded.into(),
                method: *method,
                head: head.again(None),
            });
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Metadata,
        nats::session::protocol::{body::time_left, tests::network::head},
    };
    use nmfw_core::call::body::wire::{Reader, put_varint};

    /// Encodes and decodes a call, and returns what arrives.
    fn pass(
        sides: &mut (SentHeads, ReceivedHeads),
        methods: &Methods,
        sent: &CallHead,
        now: Instant,
    ) -> (usize, CallHead) {
        let mut body = Vec::new();
        put_varint(&mut body, time_left(sent.deadline, now));
        body.extend_from_slice(&sides.0.encode(sent));
        let call = UnreadCall::decode(Reader::new(&body)).unwrap();
        let (method, head) = sides.1.decode(call, methods, now).unwrap().unwrap();
        (method.index, head)
    }

    #[test]
    fn a_head_is_the_same_the_first_time_and_later() {
        let names: Vec<_> = (0..2 * MOST).map(|i| format!("Method{i}")).collect();
        let entry = |index| MethodEntry {
            index,
            is_single: index % 2 == 0,
        };
        let methods: Methods = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.as_str().into(), entry(index)))
            .collect();
        let now = Instant::now();
        let mut sides = <(SentHeads, ReceivedHeads)>::default();
        for round in 0..4_usize {
            for (index, name) in names.iter().enumerate() {
                // Each method twice in a row, also with a version of its own.
                for part in 0..4_usize {
                    let mut sent = head(name);
                    sent.client_version = (part >= 2).then(|| SmolStr::from("1.2.3"));
                    sent.deadline = match part % 2 {
                        0 => None,
                        _ => Some(now + Duration::from_millis((round * 100 + index) as u64)),
                    };
                    if round == 2 {
                        sent.metadata.append("key", name).unwrap();
                    }
                    if round == 3 {
                        sent.encoding = Encoding::Json;
                    }
                    let (method, got) = pass(&mut sides, &methods, &sent, now);
                    assert_eq!((method, &got.method), (index, &sent.method));
                    assert_eq!(got.client_version, sent.client_version);
                    assert_eq!(got.metadata, sent.metadata);
                    assert_eq!(got.encoding, sent.encoding);
                    assert_eq!(got.deadline.is_some(), sent.deadline.is_some());
                }
            }
            assert!(sides.0.0.values.len() <= MOST && sides.1.0.values.len() <= MOST);
        }
    }

    #[test]
    fn only_short_heads_without_metadata_are_kept() {
        let methods: Methods = [(
            "Add".into(),
            MethodEntry {
                index: 0,
                is_single: true,
            },
        )]
        .into_iter()
        .collect();
        let now = Instant::now();
        let mut sides = <(SentHeads, ReceivedHeads)>::default();
        let mut sent = head("Add");
        sent.metadata.append("key", "value").unwrap();
        pass(&mut sides, &methods, &sent, now);
        sent.metadata = Metadata::new();
        sent.client_version = Some(format!("1.0.0+{}", "b".repeat(MAX_LEN)).into());
        pass(&mut sides, &methods, &sent, now);
        assert!(sides.1.0.values.is_empty());
    }
}
