//! The `_schema` endpoint: the descriptors of the service, in parts that fit into messages.

use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use super::instance_endpoint::InstanceEndpoint;
use crate::{
    EmbeddedSchema,
    nats::schema_message::{SchemaRequest, SchemaResponse},
};
use nmfw_core::{
    service::instance::Instance,
    token_bucket::{Bucket, Pace},
};

/// The largest part. Most schemas have a few kilobytes and are sent at once.
const MAX_PART: usize = 64 * 1024;

/// An upper bound for the size of a response without its part.
const OVERHEAD: usize = 128;

/// The size of an answer that takes one token: that of a usual schema.
const TOKEN: usize = 4 * 1024;

/// The rate limit of answers: 400 KiB a second after a burst of 2 MiB. A request is much smaller than
/// its answer, so unlimited answers could be used to flood others.
const ANSWERS: Pace = Pace {
    interval: Some(Duration::from_millis(10)),
    burst: 512,
};

/// The schema of an instance.
pub(crate) struct SchemaEndpoint {
    schema: EmbeddedSchema,
    budget: Bucket,
}

impl SchemaEndpoint {
    /// Returns the endpoint of an instance that has a schema.
    pub(crate) fn of(instance: &Instance) -> Option<Self> {
        let schema = instance.schema?;
        let budget = Bucket::default();
        Some(Self { schema, budget })
    }

    /// Returns the answer, or `None` beyond the rate limit.
    fn within_limit(&mut self, request: &SchemaRequest, max_payload: usize) -> Option<Vec<u8>> {
        let now = Instant::now();
        if !self.budget.take(&ANSWERS, now) {
            log_limited!(
                warn,
                "schema requests exceed the rate limit and are dropped"
            );
            return None;
        }
        let response = self.respond(request, max_payload).encode_to_vec();
        // The last answer of a burst may have more bytes than are left.
        for _ in 0..response.len() / TOKEN {
            self.budget.take(&ANSWERS, now);
        }
        Some(response)
    }

    fn respond(&self, request: &SchemaRequest, max_payload: usize) -> SchemaResponse {
        let (hash, all) = (self.schema.hash(), self.schema.compressed());
        let is_other = !request.hash.is_empty() && request.hash != hash;
        let part = match usize::try_from(request.offset) {
            Ok(offset) if !is_other => {
                // One byte at least, so that a client makes progress.
                let len = max_payload.saturating_sub(OVERHEAD).clamp(1, MAX_PART);
                let rest = all.get(offset..).unwrap_or_default();
                &rest[..len.min(rest.len())]
            }
            _ => &[],
        };
        SchemaResponse {
            hash: hash.to_owned(),
            size: all.len() as u64,
            part: part.to_vec(),
        }
    }
}

impl InstanceEndpoint for SchemaEndpoint {
    const NAME: &'static str = "schema";
    const REQUEST: &'static str = "a schema request";

    fn answer(&mut self, _: &Instance, request: &[u8], max_payload: usize) -> Option<Vec<u8>> {
        // Anything else asks for the beginning, so that a request can be typed.
        let request = SchemaRequest::decode(request).unwrap_or_default();
        self.within_limit(&request, max_payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SET: [u8; 200_000] = [7; 200_000];
    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn endpoint() -> SchemaEndpoint {
        let spec = crate::ServiceSpec::new("calc", "Calc").with_schema(HASH, &SET);
        SchemaEndpoint {
            schema: spec.schema().unwrap(),
            budget: Bucket::default(),
        }
    }

    #[test]
    fn parts_fit_into_messages_and_are_the_whole_schema() {
        for max_payload in [OVERHEAD + 1000, 8 * 1024, 1024 * 1024] {
            let (endpoint, mut got) = (endpoint(), 0);
            loop {
                let request = SchemaRequest {
                    hash: HASH.to_owned(),
                    offset: got as u64,
                };
                let response = endpoint.respond(&request, max_payload);
                assert!(response.encoded_len() <= max_payload);
                assert_eq!((&*response.hash, response.size), (HASH, SET.len() as u64));
                if response.part.is_empty() {
                    break;
                }
                got += response.part.len();
            }
            assert_eq!(got, SET.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_limited_by_their_bytes() {
        let mut endpoint = endpoint();
        let request = SchemaRequest::default();
        let mut sent = || {
            let answers = std::iter::from_fn(|| endpoint.within_limit(&request, 1 << 20));
            answers.map(|answer| answer.len()).sum::<usize>()
        };
        let burst = sent();
        assert!(
            ((1 << 20)..(2 << 20) + MAX_PART).contains(&burst),
            "{burst}"
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(sent(), burst);
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = sent();
        assert!(second <= (400 << 10) + MAX_PART, "{second}");
        // Small ones, such as for a hash that is not there, take less.
        let other = SchemaRequest {
            hash: "x".to_owned(),
            offset: 0,
        };
        tokio::time::advance(Duration::from_secs(60)).await;
        let answers = std::iter::from_fn(|| endpoint.within_limit(&other, 1 << 20));
        assert_eq!(answers.count(), 512);
    }

    #[test]
    fn another_hash_or_offset_gets_no_part() {
        for (hash, offset) in [
            ("another", 0),
            (HASH, 200_000),
            (HASH, u64::MAX),
            ("", 1 << 40),
        ] {
            let hash = hash.to_owned();
            let response = endpoint().respond(&SchemaRequest { hash, offset }, 1 << 20);
            assert_eq!(
                (&*response.hash, response.part.len()),
                (HASH, 0),
                "{offset}"
            );
        }
        let response = endpoint().respond(&SchemaRequest::default(), 1 << 20);
        assert_eq!(response.part.len(), MAX_PART);
    }
}
