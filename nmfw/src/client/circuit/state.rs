//! [`Circuit`]: when calls may be made, from what became of those before. Without a clock and without
//! chance of its own, so that it can be tested at any time.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::Code;

/// Parts of the window that calls leave together.
const SLOTS: usize = 10;

/// When it opens, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Calls count that ended within this time.
    pub(super) window: Duration,
    /// So many of them there have to be.
    pub(super) min_calls: u32,
    /// And this part of them has to have failed.
    pub(super) failures: f64,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) probes: u32,
}

/// Of one method.
#[derive(Debug)]
pub(super) struct Circuit {
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
    },
}

/// What a circuit was opened for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why {
    pub(super) tally: Tally,
    pub(super) last: Code,
}

/// A call that may be made. It has to be [ended](Circuit::end), once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    period: u64,
}

/// What a call has to say of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure(Code),
    /// It was given up before anything was known.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// When calls are let through again; `None` while it is half-open, and others try.
    pub(super) until: Option<Instant>,
    pub(super) why: Why,
}

/// What an ended call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened { pause: Duration },
    OpenedAgain { pause: Duration },
    Closed,
}

impl Circuit {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed(Window::new(now)),
            period: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// A call is to be made.
    pub(super) fn enter(&mut self, rules: &Rules, now: Instant) -> Result<Pass, Refusal> {
        if let State::Open { until, pause, why } = self.state
            && until <= now
        {
            self.change(State::HalfOpen {
                pause,
                why,
                under_way: 0,
                succeeded: 0,
            });
        }
        match &mut self.state {
            State::Closed(_) => {}
            State::HalfOpen {
                under_way,
                succeeded,
                why,
                ..
            } => {
                if *under_way + *succeeded >= rules.probes {
                    return Err(Refusal {
                        until: None,
                        why: *why,
                    });
                }
                *under_way += 1;
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
    pub(super) fn end(
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
                if tally.calls < rules.min_calls || part < rules.failures || tally.failed == 0 {
                    return None;
                }
                let last = window.last_failure;
                let pause = rules.first_pause;
                let cut = self.open(pause, Why { tally, last }, now, cut);
                Some(Change::Opened { pause: cut })
            }
            State::HalfOpen {
                pause,
                why,
                under_way,
                succeeded,
            } => {
                *under_way = under_way.saturating_sub(1);
                match outcome {
                    // Its place is for another.
                    Outcome::Unknown => None,
                    Outcome::Success => {
                        *succeeded += 1;
                        if *succeeded < rules.probes {
                            return None;
                        }
                        self.change(State::Closed(Window::new(now)));
                        Some(Change::Closed)
                    }
                    Outcome::Failure(last) => {
                        let pause = pause.saturating_mul(2).min(rules.longest_pause);
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
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> Rules {
        Rules {
            window: Duration::from_secs(10),
            min_calls: 4,
            failures: 0.5,
            first_pause: SECOND,
            longest_pause: 4 * SECOND,
            probes: 2,
        }
    }

    const FAILURE: Outcome = Outcome::Failure(Code::Unavailable);

    struct Test {
        circuit: Circuit,
        rules: Rules,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                circuit: Circuit::new(now),
                rules: rules(),
                now,
            }
        }

        fn enter(&mut self) -> Option<Pass> {
            self.circuit.enter(&self.rules, self.now).ok()
        }

        fn end(&mut self, pass: Pass, outcome: Outcome) -> Option<Change> {
            self.circuit.end(&self.rules, pass, outcome, self.now, 1.0)
        }

        fn call(&mut self, outcome: Outcome) -> Option<Change> {
            let pass = self.enter().unwrap();
            self.end(pass, outcome)
        }

        /// Opens it, if it is closed.
        fn open(&mut self) {
            for _ in 0..3 {
                assert_eq!(self.call(FAILURE), None);
            }
            let pause = SECOND;
            assert_eq!(self.call(FAILURE), Some(Change::Opened { pause }));
        }
    }

    #[test]
    fn it_opens_when_enough_calls_have_failed() {
        let mut test = Test::new();
        for outcome in [Outcome::Success, Outcome::Success, FAILURE] {
            assert_eq!(test.call(outcome), None);
        }
        assert_eq!(test.call(Outcome::Unknown), None, "counts for nothing");
        let pause = SECOND;
        assert_eq!(test.call(FAILURE), Some(Change::Opened { pause }));
        let refusal = test.circuit.enter(&test.rules, test.now).unwrap_err();
        assert_eq!(refusal.until, Some(test.now + SECOND));
        let tally = Tally {
            calls: 4,
            failed: 2,
        };
        assert_eq!(refusal.why.tally, tally);
        assert_eq!(refusal.why.last, Code::Unavailable);
    }

    #[test]
    fn a_success_can_be_the_call_that_was_wanting() {
        let mut test = Test::new();
        for _ in 0..3 {
            assert_eq!(test.call(FAILURE), None);
        }
        assert!(test.call(Outcome::Success).is_some());
    }

    #[test]
    fn failures_are_forgotten_with_the_window() {
        let mut test = Test::new();
        for _ in 0..100 {
            assert_eq!(test.call(FAILURE), None, "one at a time");
            test.now += 3 * SECOND + SECOND / 2;
        }
    }

    #[test]
    fn probes_are_few_and_close_it() {
        let mut test = Test::new();
        test.open();
        test.now += SECOND - Duration::from_millis(1);
        assert!(test.enter().is_none(), "too early");
        test.now += Duration::from_millis(1);
        let (first, second) = (test.enter().unwrap(), test.enter().unwrap());
        assert!(test.enter().is_none(), "two at a time");
        assert_eq!(test.end(first, Outcome::Unknown), None);
        let third = test.enter().unwrap();
        assert_eq!(test.end(second, Outcome::Success), None);
        assert!(test.enter().is_none(), "one is well, one under way");
        assert!(!test.circuit.is_closed());
        assert_eq!(test.end(third, Outcome::Success), Some(Change::Closed));
        assert!(test.circuit.is_closed());
        test.open();
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_longer() {
        let mut test = Test::new();
        test.open();
        for seconds in [1, 2, 4, 4, 4] {
            test.now += seconds * SECOND;
            let change = test.call(FAILURE);
            let pause = (2 * seconds * SECOND).min(4 * SECOND);
            assert_eq!(change, Some(Change::OpenedAgain { pause }));
        }
        test.now += 4 * SECOND;
        assert_eq!(test.call(Outcome::Success), None);
        assert_eq!(test.call(Outcome::Success), Some(Change::Closed));
        // From the beginning.
        test.open();
    }

    #[test]
    fn calls_of_an_earlier_period_say_nothing() {
        let mut test = Test::new();
        let old: Vec<_> = (0..10).map(|_| test.enter().unwrap()).collect();
        test.open();
        test.now += SECOND;
        let probe = test.enter().unwrap();
        for pass in &old[..5] {
            assert_eq!(test.end(*pass, FAILURE), None);
        }
        assert_eq!(test.end(probe, Outcome::Success), None);
        assert_eq!(test.call(Outcome::Success), Some(Change::Closed));
        for pass in &old[5..] {
            assert_eq!(test.end(*pass, FAILURE), None);
        }
        assert_eq!(test.call(FAILURE), None);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(u64),
        Enter,
        End(usize, Outcome),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = prop_oneof![
            Just(Outcome::Success),
            Just(FAILURE),
            Just(FAILURE),
            Just(Outcome::Unknown)
        ];
        let step = prop_oneof![
            (0u64..3_000).prop_map(Step::Wait),
            Just(Step::Enter),
            Just(Step::Enter),
            (any::<usize>(), outcome).prop_map(|(nth, outcome)| Step::End(nth, outcome)),
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        /// Whatever happens: an open circuit lets nothing through, a half-open one no more than its
        /// probes, a closed one everything; and one that nobody waits for any more always recovers.
        #[test]
        fn it_keeps_its_word(steps in steps()) {
            let mut test = Test::new();
            let mut under_way = Vec::new();
            let mut probes = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(millis) => test.now += Duration::from_millis(millis),
                    Step::Enter => {
                        let was_closed = test.circuit.is_closed();
                        let is_early =
                            matches!(test.circuit.state, State::Open { until, .. } if test.now < until);
                        let pass = test.enter();
                        prop_assert!(!(is_early && pass.is_some()));
                        prop_assert!(!was_closed || pass.is_some());
                        if let Some(pass) = pass {
                            if !was_closed {
                                probes.push(pass.period);
                            }
                            under_way.push(pass);
                        }
                    }
                    Step::End(nth, outcome) => {
                        if !under_way.is_empty() {
                            let pass = under_way.swap_remove(nth % under_way.len());
                            let change = test.end(pass, outcome);
                            if let Some(Change::Opened { pause } | Change::OpenedAgain { pause }) = change {
                                prop_assert!(outcome != Outcome::Unknown);
                                prop_assert!(pause <= test.rules.longest_pause);
                            }
                        }
                    }
                }
                let of_now = |period: &&u64| **period == test.circuit.period;
                let half_open = matches!(test.circuit.state, State::HalfOpen { .. });
                let running = under_way
                    .iter()
                    .filter(|pass| half_open && pass.period == test.circuit.period)
                    .count();
                prop_assert!(running <= test.rules.probes as usize);
                prop_assert!(probes.iter().filter(of_now).count() >= running);
            }
            for pass in under_way {
                test.end(pass, Outcome::Unknown);
            }
            test.now += test.rules.longest_pause;
            for _ in 0..test.rules.probes {
                if !test.circuit.is_closed() {
                    test.call(Outcome::Success);
                }
            }
            prop_assert!(test.circuit.is_closed());
        }

        /// The window has what ended within it, to a tenth of its length.
        #[test]
        fn the_window_slides(pauses in proptest::collection::vec(0u64..4_000, 1..200)) {
            let length = Duration::from_secs(10);
            let slot = length / SLOTS as u32;
            let mut now = Instant::now();
            let mut window = Window::new(now);
            let mut ended = Vec::new();
            for (nth, pause) in pauses.into_iter().enumerate() {
                now += Duration::from_millis(pause);
                let failure = (nth % 3 == 0).then_some(Code::Internal);
                ended.push(now);
                let tally = window.add(length, now, failure);
                let within = |age| ended.iter().filter(|at| now - **at < age).count() as u32;
                prop_assert!(tally.calls >= within(length - slot), "{tally:?}");
                prop_assert!(tally.calls <= within(length), "{tally:?}");
                prop_assert!(tally.failed <= tally.calls);
            }
        }
    }
}
