//! [`Circuit`]: the state machine of a circuit. Time and randomness are parameters, so that it can be tested deterministically.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::Code;

/// Number of parts of the window, which expire one at a time.
const SLOTS: usize = 10;

/// The settings of a circuit.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Only calls that ended within this time count.
    pub(crate) window: Duration,
    /// Minimum number of calls in the window.
    pub(crate) min_calls: u32,
    /// Ratio of failures that opens the circuit.
    pub(crate) failure_ratio: f64,
    pub(crate) initial_backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) half_open_calls: u32,
}

/// The circuit of one method.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: CircuitState,
    /// Number of state changes. Calls from before the last change are ignored.
    period: u64,
}

#[derive(Debug)]
enum CircuitState {
    Closed(Window),
    Open {
        until: Instant,
        /// The backoff before it is shortened at random.
        pause: Duration,
        why: Why,
    },
    HalfOpen {
        pause: Duration,
        why: Why,
        in_flight: u32,
        succeeded: u32,
        /// When a further call may be made, however many are in flight, because they may hang.
        next: Instant,
    },
}

/// The reason why a circuit was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Why {
    pub(crate) tally: WindowCounts,
    pub(crate) last: Code,
}

/// A permitted call, which has to be [ended](Circuit::end) exactly once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    period: u64,
}

/// The outcome of a call, as far as it concerns the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(Code),
    /// The call was dropped before its outcome was known.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// When calls are permitted again; `None` while the circuit is half-open.
    pub(crate) until: Option<Instant>,
    pub(crate) why: Why,
}

/// The state change caused by an ended call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened { pause: Duration },
    OpenedAgain { pause: Duration },
    Closed,
}

impl Circuit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: CircuitState::Closed(Window::new(now)),
            period: 0,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, CircuitState::Closed(_))
    }

    /// Requests permission for a call.
    pub(crate) fn enter(&mut self, rules: &Rules, now: Instant) -> Result<Pass, Refusal> {
        if let CircuitState::Open { until, pause, why } = self.state
            && until <= now
        {
            self.change(CircuitState::HalfOpen {
                pause,
                why,
                in_flight: 0,
                succeeded: 0,
                next: now + pause,
            });
        }
        match &mut self.state {
            CircuitState::Closed(_) => {}
            CircuitState::HalfOpen {
                pause,
                why,
                in_flight,
                succeeded,
                next,
            } => {
                if *in_flight + *succeeded >= rules.half_open_calls && now < *next {
                    return Err(Refusal {
                        until: None,
                        why: *why,
                    });
                }
                *in_flight += 1;
                *next = now + *pause;
            }
            CircuitState::Open { until, why, .. } => {
                return Err(Refusal {
                    until: Some(*until),
                    why: *why,
                });
            }
        }
        let period = self.period;
        Ok(Pass { period })
    }

    /// Records the end of a call. `cut` is the fraction of a backoff that remains after shortening
    /// it at random.
    pub(crate) fn end(
        &mut self,
        rules: &Rules,
        pass: Pass,
        outcome: Outcome,
        now: Instant,
        cut: f64,
    ) -> Option<Change> {
        if pass.period != self.period {
            return None;
        }
        match &mut self.state {
            CircuitState::Closed(window) => {
                let failure = match outcome {
                    Outcome::Success => None,
                    Outcome::Failure(code) => Some(code),
                    Outcome::Unknown => return None,
                };
                let tally = window.add(rules.window, now, failure);
                let part = f64::from(tally.failed) / f64::from(tally.calls.max(1));
                if tally.calls < rules.min_calls || part < rules.failure_ratio || tally.failed == 0
                {
                    return None;
                }
                let last = window.last_failure;
                let pause = rules.initial_backoff;
                let cut = self.open(pause, Why { tally, last }, now, cut);
                Some(Change::Opened { pause: cut })
            }
            CircuitState::HalfOpen {
                pause,
                why,
                in_flight,
                succeeded,
                ..
            } => {
                *in_flight = in_flight.saturating_sub(1);
                match outcome {
                    // The slot of the call becomes free.
                    Outcome::Unknown => None,
                    Outcome::Success => {
                        *succeeded += 1;
                        if *succeeded < rules.half_open_calls {
                            return None;
                        }
                        self.change(CircuitState::Closed(Window::new(now)));
                        Some(Change::Closed)
                    }
                    Outcome::Failure(last) => {
                        let pause = pause.saturating_mul(2).min(rules.max_backoff);
                        let why = Why { last, ..*why };
                        let cut = self.open(pause, why, now, cut);
                        Some(Change::OpenedAgain { pause: cut })
                    }
                }
            }
            // Unreachable: no call was permitted in this period.
            CircuitState::Open { .. } => None,
        }
    }

    fn open(&mut self, pause: Duration, why: Why, now: Instant, cut: f64) -> Duration {
        let cut = pause.mul_f64(cut);
        let until = now + cut;
        self.change(CircuitState::Open { until, pause, why });
        cut
    }

    fn change(&mut self, state: CircuitState) {
        self.state = state;
        self.period += 1;
    }
}

/// Numbers of ended and failed calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowCounts {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
}

impl WindowCounts {
    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

/// A sliding window of calls in constant memory, from which the oldest tenth expires at a time.
#[derive(Debug)]
struct Window {
    slots: [WindowCounts; SLOTS],
    current: usize,
    /// Start of the current slot.
    since: Instant,
    last_failure: Code,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            slots: [WindowCounts::default(); SLOTS],
            current: 0,
            since: now,
            last_failure: Code::Unknown,
        }
    }

    /// Adds a call, and returns the totals of the window.
    fn add(&mut self, length: Duration, now: Instant, failure: Option<Code>) -> WindowCounts {
        self.advance(length, now);
        let call = WindowCounts {
            calls: 1,
            failed: u32::from(failure.is_some()),
        };
        if let Some(slot) = self.slots.get_mut(self.current) {
            *slot = slot.add(call);
        }
        if let Some(code) = failure {
            self.last_failure = code;
        }
        self.slots
            .iter()
            .copied()
            .fold(WindowCounts::default(), WindowCounts::add)
    }

    fn advance(&mut self, length: Duration, now: Instant) {
        let slot = length / SLOTS as u32;
        let passed = now.saturating_duration_since(self.since);
        if passed >= length {
            let last_failure = self.last_failure;
            _ = mem::replace(self, Self::new(now));
            self.last_failure = last_failure;
            return;
        }
        let mut passed = passed;
        while passed >= slot {
            passed -= slot;
            self.since += slot;
            self.current = (self.current + 1) % SLOTS;
            if let Some(slot) = self.slots.get_mut(self.current) {
                *slot = WindowCounts::default();
            }
        }
    }
}

#[cfg(test)]
mod tests;
