//! Metrics of served methods.

use std::{fmt, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{ByCode, Labels, Traffic, names};
use crate::{Code, Status, call::body::chunk::Chunk};

/// The counters of a method, from the recorder that was installed when the server was created.
pub struct MethodMetrics {
    labels: Labels,
    requests: ByCode,
    runtime: Histogram,
    handler_errors: Counter,
    errors: Counter,
    not_started: Counter,
    displaced: Counter,
    stalled: Counter,
    received: Traffic,
    sent: Traffic,
}

impl MethodMetrics {
    /// Error counters exist from the beginning, so that the first error is an increase.
    pub(crate) fn new(service: &str, function: &'static str) -> Self {
        crate::observe::metrics::register();
        let labels = Labels::new(service, function);
        Self {
            requests: ByCode::new(names::SERVER_REQUESTS, &labels),
            runtime: metrics::histogram!(names::HANDLER_RUNTIME, labels.all()),
            handler_errors: metrics::counter!(names::HANDLER_ERRORS, labels.all()),
            errors: metrics::counter!(names::ERRORS, labels.all()),
            not_started: metrics::counter!(names::SERVER_NOT_STARTED, labels.all()),
            displaced: metrics::counter!(names::SERVER_DISPLACED, labels.all()),
            stalled: metrics::counter!(names::SERVER_STALLED, labels.all()),
            received: Traffic::new(
                names::SERVER_RECEIVED_BYTES,
                names::SERVER_RECEIVED_MESSAGES,
                &labels,
            ),
            sent: Traffic::new(
                names::SERVER_SENT_BYTES,
                names::SERVER_SENT_MESSAGES,
                &labels,
            ),
            labels,
        }
    }

    /// Counts a handler that has ended.
    pub(crate) fn ended(&self, outcome: Result<(), &Status>, time: Duration) {
        self.runtime.record(time);
        match outcome {
            Ok(()) => self.requests.count(Code::Ok),
            Err(status) => {
                self.requests.count(status.code());
                self.handler_errors.increment(1);
            }
        }
    }

    /// Counts a call that no handler has seen.
    pub(crate) fn refused(&self, status: &Status) {
        self.requests.count(status.code());
        self.errors.increment(1);
        if status.is_not_started() {
            self.not_started.increment(1);
        }
    }

    /// Counts a queued call that another client's call has displaced.
    pub(crate) fn displaced(&self) {
        self.displaced.increment(1);
    }

    /// Counts a stalled stream that was ended for another call.
    pub fn stalled(&self) {
        self.stalled.increment(1);
    }

    /// Counts a response that could not be sent.
    pub(crate) fn unsent(&self) {
        self.errors.increment(1);
    }

    /// Counts a request with a single message.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.message(bytes);
    }

    /// Counts a response with a single message.
    pub fn sent(&self, bytes: usize) {
        self.sent.message(bytes);
    }

    pub(crate) fn received_in_stream(&self, chunk: &Chunk) {
        self.received.streamed(chunk);
    }

    pub(crate) fn sent_in_stream(&self, chunk: &Chunk) {
        self.sent.streamed(chunk);
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges::new(&self.labels)
    }
}

impl fmt::Debug for MethodMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics of {:?}", self.labels)
    }
}

/// The load of a method. Several instances in a process add up.
pub(crate) struct Gauges {
    in_flight: Part,
    queue: Part,
    limit: Part,
    utilization: Gauge,
}

impl Gauges {
    fn new(labels: &Labels) -> Self {
        Self {
            in_flight: Part::of(metrics::gauge!(names::SERVER_IN_FLIGHT, labels.all())),
            queue: Part::of(metrics::gauge!(names::SERVER_QUEUE, labels.all())),
            limit: Part::of(metrics::gauge!(names::SERVER_LIMIT, labels.all())),
            utilization: metrics::gauge!(names::SERVER_UTILIZATION, labels.all()),
        }
    }

    pub(crate) fn set(&mut self, in_flight: usize, queue: usize, limit: usize) {
        // Numbers of calls are far below 2^52.
        let [in_flight, queue, limit] = [in_flight, queue, limit].map(|number| number as f64);
        self.in_flight.set(in_flight);
        self.queue.set(queue);
        self.limit.set(limit);
        if limit > 0.0 {
            self.utilization.set((in_flight + queue) / limit);
        }
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.utilization.set(0.0);
    }
}

/// The contribution of one instance to a gauge.
struct Part {
    gauge: Gauge,
    value: f64,
}

impl Part {
    fn of(gauge: Gauge) -> Self {
        Self { gauge, value: 0.0 }
    }

    fn set(&mut self, value: f64) {
        self.gauge.increment(value - self.value);
        self.value = value;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0.0);
    }
}
