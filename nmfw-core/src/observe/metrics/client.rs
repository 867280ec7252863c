//! Metrics of called methods.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    task::{Poll, ready},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::{Counter, Gauge, Histogram, IntoF64};
use tokio::time::Instant;

use super::{ByCode, Labels, Traffic, names};
use crate::{
    Code, Method, Status,
    call::{body::Body, response::Response},
};

/// The counters of a method, from the recorder that was installed at its first call.
pub struct CallMetrics {
    labels: Labels,
    requests: ByCode,
    duration: Histogram,
    in_flight: Gauge,
    redispatches: Counter,
    retries: Counter,
    sent: Traffic,
    received: Traffic,
}

impl CallMetrics {
    /// Returns the metrics of a method, shared by all channels.
    pub fn of(method: Method) -> &'static Self {
        type All = HashMap<(usize, usize), &'static CallMetrics>;
        static ALL: Mutex<Option<All>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        // Methods are part of the program, so their number is bounded.
        all.entry(method.id())
            .or_insert_with(|| Box::leak(Box::new(Self::new(method))))
    }

    fn new(method: Method) -> Self {
        crate::observe::metrics::register();
        let labels = Labels::new(method.service().discovery_name(), method.name());
        Self {
            requests: ByCode::new(names::CLIENT_REQUESTS, &labels),
            duration: metrics::histogram!(names::CLIENT_DURATION, labels.all()),
            in_flight: metrics::gauge!(names::CLIENT_IN_FLIGHT, labels.all()),
            redispatches: metrics::counter!(names::CLIENT_REDISPATCHES, labels.all()),
            retries: metrics::counter!(names::CLIENT_RETRIES, labels.all()),
            sent: Traffic::new(
                names::CLIENT_SENT_BYTES,
                names::CLIENT_SENT_MESSAGES,
                &labels,
            ),
            received: Traffic::new(
                names::CLIENT_RECEIVED_BYTES,
                names::CLIENT_RECEIVED_MESSAGES,
                &labels,
            ),
            labels,
        }
    }

    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    pub fn redispatched(&self) {
        self.redispatches.increment(1);
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics of calls of {:?}", self.labels)
    }
}

/// A call in flight. It is counted once: when it ends or, if dropped before, as cancelled.
#[derive(Debug)]
pub(crate) struct CallCount {
    metrics: &'static CallMetrics,
    begin: Instant,
    code: Code,
}

impl CallCount {
    pub(crate) fn begin(metrics: &'static CallMetrics, now: Instant) -> Self {
        metrics.in_flight.increment(1.0);
        Self {
            metrics,
            begin: now,
            code: Code::Cancelled,
        }
    }

    /// Counts the request.
    pub(crate) fn request(&self, body: &mut Body) {
        let metrics = self.metrics;
        match body {
            Body::Message(message) => metrics.sent.message(message.len()),
            Body::Messages(messages) => messages
                .wrap_with(|messages| messages.inspect_ok(|chunk| metrics.sent.streamed(chunk))),
        }
    }

    /// Counts the response. A response stream keeps the counter until its end.
    pub(crate) fn response(
        mut self,
        outcome: Result<Response, Status>,
    ) -> Result<Response, Status> {
        let mut response = outcome.inspect_err(|status| self.code = status.code())?;
        let messages = match &mut response.body {
            Body::Message(message) => {
                self.code = Code::Ok;
                self.metrics.received.message(message.len());
                return Ok(response);
            }
            Body::Messages(messages) => messages,
        };
        messages.wrap_with(|mut messages| {
            stream::poll_fn(move |cx| {
                // The stream counts its messages when it is dropped.
                let count = &mut self;
                let item = ready!(messages.poll_next_unpin(cx));
                match &item {
                    Some(Ok(chunk)) => count.metrics.received.streamed(chunk),
                    Some(Err(status)) => count.code = status.code(),
                    None => count.code = Code::Ok,
                }
                Poll::Ready(item)
            })
        });
        Ok(response)
    }
}

/// An elapsed time, computed only if it is recorded.
struct Since(Instant);

impl IntoF64 for Since {
    fn into_f64(self) -> f64 {
        self.0.elapsed().into_f64()
    }
}

impl Drop for CallCount {
    fn drop(&mut self) {
        self.metrics.in_flight.decrement(1.0);
        self.metrics.duration.record(Since(self.begin));
        self.metrics.requests.count(self.code);
    }
}
