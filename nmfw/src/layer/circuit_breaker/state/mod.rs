//! [`Circuit`]: when calls may be made, from what became of those before. Without a clock and without
//! chance of its own, so that it can be tested at any time.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::Code;

/// Parts of the window that calls leave together.
const SLOTS: usize = 10;

/// When it opens, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Calls count that ended within this time.
    pub(crate) window: Duration,
    /// So many of them there have to be.
    pub(crate) min_calls: u32,
    /// And this part of them has to have failed.
    pub(crate) failure_ratio: f64,
    pub(crate) initial_backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) half_open_calls: u32,
}

/// Of one method.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: State,
    /// Changes of state so far. A call that has begun before the last says nothing of what is now.
    period: u64,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open {
        until: Instant,
        /// Before it was cut by chance.
        pause: Duration,
        why: Why,
    },
    HalfOpen {
        pause: Duration,
        why: Why,
        under_way: u32,
        succeeded: u32,
        /// When a further probe is let through, however many are under way: they may hang.
        next: Instant,
    },
}

/// What a circuit was opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Why {
    pub(crate) tally: Tally,
    pub(crate) last: Code,
}

/// A call that may be made. It has to be [ended](Circuit::end), once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    period: u64,
}

/// What a call has to say of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(Code),
    /// It was given up before anything was known.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// When calls are let through again; `None` while it is half-open, and others try.
    pub(crate) until: Option<Instant>,
    pub(crate) why: Why,
}

/// What an ended call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened { pause: Duration },
    OpenedAgain { pause: Duration },
    Closed,
}

impl Circuit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed(Window::new(now)),
            period: 0,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// A call is to be made.
    pub(crate) fn enter(&mut self, rules: &Rules, now: Instant) -> Result<Pass, Refusal> {
        if let State::Open { until, pause, why } = self.state
            && until <= now
        {
            self.change(State::HalfOpen {
                pause,
                why,
                under_way: 0,
                succeeded: 0,
                next: now + pause,
            });
        }
        match &mut self.state {
            State::Closed(_) => {}
            State::HalfOpen {
                pause,
                why,
                under_way,
                succeeded,
                next,
            } => {
                if *under_way + *succeeded >= rules.half_open_calls && now < *next {
                    return Err(Refusal {
                        until: None,
                        why: *why,
                    });
                }
                *under_way += 1;
                *next = now + *pause;
            }
            State::Open { until, why, .. } => {
                return Err(Refusal {
                    until: Some(*until),
                    why: *why,
                });
            }
        }
        let period = self.period;
        Ok(Pass { period })
    }

    /// A call has ended. `cut` is the part of a pause that chance leaves.
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
            State::Closed(window) => {
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
            State::HalfOpen {
                pause,
                why,
                under_way,
                succeeded,
                ..
            } => {
                *under_way = under_way.saturating_sub(1);
                match outcome {
                    // Its place is for another.
                    Outcome::Unknown => None,
                    Outcome::Success => {
                        *succeeded += 1;
                        if *succeeded < rules.half_open_calls {
                            return None;
                        }
                        self.change(State::Closed(Window::new(now)));
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
            // A call of this period was not let through.
            State::Open { .. } => None,
        }
    }

    fn open(&mut self, pause: Duration, why: Why, now: Instant, cut: f64) -> Duration {
        let cut = pause.mul_f64(cut);
        let until = now + cut;
        self.change(State::Open { until, pause, why });
        cut
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.period += 1;
    }
}

/// Calls that have ended, and those of them that have failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

/// The calls of the last while, however many, in as much memory: the oldest tenth leaves at a time.
#[derive(Debug)]
struct Window {
    slots: [Tally; SLOTS],
    current: usize,
    /// When the current slot began.
    since: Instant,
    last_failure: Code,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            slots: [Tally::default(); SLOTS],
            current: 0,
            since: now,
            last_failure: Code::Unknown,
        }
    }

    /// Gives what the window then has.
    fn add(&mut self, length: Duration, now: Instant, failure: Option<Code>) -> Tally {
        self.advance(length, now);
        let call = Tally {
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
            .fold(Tally::default(), Tally::add)
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
                *slot = Tally::default();
            }
        }
    }
}

#[cfg(test)]
mod tests;
