//! [`Load`]: makes calls and measures them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use nmfw::{Channel, Code, Deadline, Metadata, Method, Status, middleware::Request};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    output::{Output, text::FAINT},
};

/// The longest latency that is distinguished, in nanoseconds.
const MAX_LATENCY: u64 = 3_600_000_000_000;

/// The number of histograms, so that callers rarely wait for each other.
const SHARDS: usize = 8;

/// What is called, and how often.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) channel: Channel,
    pub(super) method: Method,
    pub(super) request: Bytes,
    pub(super) metadata: Metadata,
    pub(super) deadline: Duration,
    pub(super) concurrency: u32,
    /// Calls a second; `None` for as many as end.
    pub(super) rate: Option<f64>,
}

/// When the measurement ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) duration: Duration,
    pub(super) requests: Option<u64>,
}

/// The results.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    /// In nanoseconds, of the calls that succeeded.
    pub(super) latencies: Histogram<u64>,
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// The messages of one error, for people.
    pub(super) first_error: Option<String>,
    /// The messages of responses.
    pub(super) messages: u64,
}

/// The counters that callers share.
struct Counters {
    latencies: Vec<Mutex<Histogram<u64>>>,
    errors: Mutex<(BTreeMap<&'static str, u64>, Option<String>)>,
    /// The number of calls that have begun, for the rate and the limit.
    begun: AtomicU64,
    ended: AtomicU64,
    messages: AtomicU64,
}

impl Load {
    /// Calls for a time, and then measures.
    pub(super) async fn run(
        &self,
        warmup: Duration,
        until: &Until,
        output: &Output,
    ) -> Result<Measured, Failure> {
        let warm = Until {
            duration: warmup,
            requests: None,
        };
        let interrupt = CancellationToken::new();
        let signal = interrupt.clone();
        let listener = tokio::spawn(async move {
            nmfw::shutdown_signal().recv().await;
            signal.cancel();
        });
        self.phase(&warm, &interrupt, None).await?;
        let measured = self.phase(until, &interrupt, Some(output)).await;
        listener.abort();
        measured
    }

    async fn phase(
        &self,
        until: &Until,
        interrupt: &CancellationToken,
        output: Option<&Output>,
    ) -> Result<Measured, Failure> {
        let counters = Arc::new(Counters::new()?);
        let stop = interrupt.child_token();
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..self.concurrency {
            let (load, counters, stop) = (self.clone(), Arc::clone(&counters), stop.clone());
            let requests = until.requests;
            callers.spawn(async move {
                load.call_until(&stop, started, requests, caller, &counters)
                    .await;
            });
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let end = tokio::time::sleep(until.duration);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                () = stop.cancelled() => break,
                ended = callers.join_next() => if ended.is_none() { break },
                _ = second.tick() => {
                    if let Some(output) = output {
                        progress(output, started.elapsed(), until.duration, &counters);
                    }
                }
            }
        }
        let elapsed = started.elapsed();
        stop.cancel();
        // Calls in flight are cut off: they would not be comparable.
        callers.shutdown().await;
        if let Some(output) = output {
            clear(output);
        }
        counters.finish(elapsed)
    }

    /// Makes one call after the other.
    async fn call_until(
        &self,
        stop: &CancellationToken,
        started: Instant,
        requests: Option<u64>,
        caller: u32,
        counters: &Counters,
    ) {
        loop {
            let number = counters.begun.fetch_add(1, Ordering::Relaxed);
            if stop.is_cancelled() || requests.is_some_and(|requests| number >= requests) {
                return;
            }
            let at = match self.rate {
                None => Instant::now(),
                // The time at which the call is due. A caller that is late begins at once, and its
                // lateness counts.
                Some(rate) => {
                    let due = started + Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    due
                }
            };
            let outcome = self.call(counters).await;
            counters.record(caller, at.elapsed(), outcome);
        }
    }

    async fn call(&self, counters: &Counters) -> Result<(), Status> {
        let mut request = Request::new(self.method, self.request.clone());
        request.metadata_mut().merge(&self.metadata);
        request.limit_deadline(Deadline::after(self.deadline));
        let (_, body) = self.channel.call(request).await?.into_parts();
        let mut messages = body.into_stream();
        while let Some(message) = messages.next().await {
            message?;
            counters.messages.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Creates a histogram of latencies.
fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, MAX_LATENCY, 3)
        .map_err(|error| Failure::new("cannot measure latencies").caused_by(&error))
}

impl Counters {
    fn new() -> Result<Self, Failure> {
        let latencies = (0..SHARDS).map(|_| histogram().map(Mutex::new));
        Ok(Self {
            latencies: latencies.collect::<Result<_, _>>()?,
            errors: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        })
    }

    fn record(&self, caller: u32, latency: Duration, outcome: Result<(), Status>) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(()) => {
                let nanos = u64::try_from(latency.as_nanos()).unwrap_or(MAX_LATENCY);
                let shard = self.latencies.get(caller as usize % SHARDS);
                if let Some(shard) = shard {
                    let mut latencies = shard.lock().unwrap_or_else(PoisonError::into_inner);
                    latencies.saturating_record(nanos.max(1));
                }
            }
            Err(status) => {
                let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
                *errors.0.entry(Code::name(status.code())).or_default() += 1;
                errors.1.get_or_insert_with(|| status.to_string());
            }
        }
    }

    fn finish(&self, elapsed: Duration) -> Result<Measured, Failure> {
        let mut latencies = histogram()?;
        for shard in &self.latencies {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // Histograms of equal bounds can be added.
            _ = latencies.add(&*shard);
        }
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Measured {
            elapsed,
            latencies,
            errors: errors.0.clone(),
            first_error: errors.1.clone(),
            messages: self.messages.load(Ordering::Relaxed),
        })
    }
}

/// Prints a line of progress over the last one, if standard error is a terminal.
fn progress(output: &Output, elapsed: Duration, duration: Duration, counters: &Counters) {
    if !output.is_watched() {
        return;
    }
    let ended = counters.ended.load(Ordering::Relaxed);
    let rate = ended as f64 / elapsed.as_secs_f64().max(0.001);
    output.note(&format!(
        "\r{FAINT}{:.0} of {:.0} s: {ended} calls, {rate:.0} a second{FAINT:#}\u{1b}[K",
        elapsed.as_secs_f64(),
        duration.as_secs_f64()
    ));
}

fn clear(output: &Output) {
    if output.is_watched() {
        output.note("\r\u{1b}[K");
    }
}
