#![doc = include_str!("../../docs/metrics.md")]

mod client;
#[doc(hidden)]
pub mod names;
mod policies;
mod process;
mod server;

use std::{fmt, sync::OnceLock};

use metrics::{Counter, Label};

pub(crate) use self::{
    client::CallCount,
    policies::{CircuitMetrics, HedgeMetrics, RateLimitMetrics},
};
#[doc(hidden)]
pub use self::{
    client::CallMetrics,
    process::{
        Counts, OpenSession, answer_dropped, message_dropped, reconnected, register,
        reply_subject_refused, session_evicted, session_refused,
    },
    server::MethodMetrics,
};
use crate::{Code, call::body::chunk::Chunk};

/// The labels `service` and `function`, as in Go nmfw.
#[derive(Clone)]
struct Labels([Label; 2]);

impl Labels {
    fn new(service: &str, function: &'static str) -> Self {
        Self([
            Label::new("service", service.to_owned()),
            Label::from_static_parts("function", function),
        ])
    }

    fn all(&self) -> Vec<Label> {
        self.0.to_vec()
    }

    fn and(&self, name: &'static str, value: &'static str) -> Vec<Label> {
        let mut labels = self.all();
        labels.push(Label::from_static_parts(name, value));
        labels
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [service, function] = &self.0;
        write!(f, "{} {}", service.value(), function.value())
    }
}

/// A counter per code, created on first use.
struct ByCode {
    name: &'static str,
    labels: Labels,
    counters: [OnceLock<Counter>; Code::ALL.len()],
}

impl ByCode {
    fn new(name: &'static str, labels: &Labels) -> Self {
        Self {
            name,
            labels: labels.clone(),
            counters: Default::default(),
        }
    }

    fn count(&self, code: Code) {
        let Some(counter) = self.counters.get(usize::from(code as u8)) else {
            return;
        };
        let make = || metrics::counter!(self.name, self.labels.and("code", code.name()));
        counter.get_or_init(make).increment(1);
    }
}

/// Bytes and messages in one direction.
struct Traffic {
    bytes: Counter,
    messages: Counter,
}

impl Traffic {
    fn new(bytes: &'static str, messages: &'static str, labels: &Labels) -> Self {
        Self {
            bytes: metrics::counter!(bytes, labels.all()),
            messages: metrics::counter!(messages, labels.all()),
        }
    }

    fn message(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
    }

    fn streamed(&self, chunk: &Chunk) {
        self.bytes.increment(chunk.bytes());
        self.messages.increment(chunk.tally().messages as u64);
    }
}
