use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules {
        window: Duration::from_secs(10),
        min_calls: 4,
        failure_ratio: 0.5,
        initial_backoff: SECOND,
        max_backoff: 4 * SECOND,
        half_open_calls: 2,
    }
}

const FAILURE: Outcome = Outcome::Failure(Code::Unavailable);

struct TestCircuit {
    circuit: Circuit,
    rules: Rules,
    now: Instant,
}

impl TestCircuit {
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

    /// Opens the circuit, if it is closed.
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
    let mut test = TestCircuit::new();
    for outcome in [Outcome::Success, Outcome::Success, FAILURE] {
        assert_eq!(test.call(outcome), None);
    }
    assert_eq!(
        test.call(Outcome::Unknown),
        None,
        "a late call of an earlier period has no effect"
    );
    let pause = SECOND;
    assert_eq!(test.call(FAILURE), Some(Change::Opened { pause }));
    let refusal = test.circuit.enter(&test.rules, test.now).unwrap_err();
    assert_eq!(refusal.until, Some(test.now + SECOND));
    let tally = WindowCounts {
        calls: 4,
        failed: 2,
    };
    assert_eq!(refusal.why.tally, tally);
    assert_eq!(refusal.why.last, Code::Unavailable);
}

#[test]
fn a_success_can_be_the_call_that_was_wanting() {
    let mut test = TestCircuit::new();
    for _ in 0..3 {
        assert_eq!(test.call(FAILURE), None);
    }
    assert!(test.call(Outcome::Success).is_some());
}

#[test]
fn failures_are_forgotten_with_the_window() {
    let mut test = TestCircuit::new();
    for _ in 0..100 {
        assert_eq!(test.call(FAILURE), None, "only one call is permitted");
        test.now += 3 * SECOND + SECOND / 2;
    }
}

#[test]
fn probes_are_few_and_close_it() {
    let mut test = TestCircuit::new();
    test.open();
    test.now += SECOND - Duration::from_millis(1);
    assert!(test.enter().is_none(), "too early");
    test.now += Duration::from_millis(1);
    let (first, second) = (test.enter().unwrap(), test.enter().unwrap());
    assert!(test.enter().is_none(), "only two calls are permitted");
    assert_eq!(test.end(first, Outcome::Unknown), None);
    let third = test.enter().unwrap();
    assert_eq!(test.end(second, Outcome::Success), None);
    assert!(test.enter().is_none(), "one succeeded, one in flight");
    assert!(!test.circuit.is_closed());
    assert_eq!(test.end(third, Outcome::Success), Some(Change::Closed));
    assert!(test.circuit.is_closed());
    test.open();
}

#[test]
fn probes_that_hang_do_not_keep_it_half_open() {
    let mut test = TestCircuit::new();
    test.open();
    test.now += SECOND;
    for _ in 0..2 {
        test.enter().unwrap();
    }
    test.now += SECOND - Duration::from_millis(1);
    assert!(test.enter().is_none(), "two in flight");
    test.now += Duration::from_millis(1);
    let third = test.enter().unwrap();
    assert!(test.enter().is_none(), "one more call after a backoff");
    assert_eq!(test.end(third, Outcome::Success), None);
    test.now += SECOND;
    assert_eq!(test.call(Outcome::Success), Some(Change::Closed));
}

#[test]
fn a_probe_that_fails_opens_it_for_longer() {
    let mut test = TestCircuit::new();
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
    // Starting over.
    test.open();
}

#[test]
fn calls_of_an_earlier_period_say_nothing() {
    let mut test = TestCircuit::new();
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
    /// For any sequence of events, an open circuit permits no calls, a half-open one at most its
    /// calls and one per backoff, and a closed one all calls. A circuit always recovers, even if
    /// calls are dropped.
    #[test]
    fn states_permit_only_their_calls(steps in steps()) {
        let mut test = TestCircuit::new();
        let mut in_flight = Vec::new();
        let mut probes = Vec::new();
        let mut half_open_since = None;
        for step in steps {
            match step {
                Step::Wait(millis) => test.now += Duration::from_millis(millis),
                Step::Enter => {
                    let was_closed = test.circuit.is_closed();
                    let is_early =
                        matches!(test.circuit.state, CircuitState::Open { until, .. } if test.now < until);
                    let pass = test.enter();
                    prop_assert!(!(is_early && pass.is_some()));
                    prop_assert!(!was_closed || pass.is_some());
                    if let Some(pass) = pass {
                        if !was_closed {
                            probes.push(pass.period);
                            half_open_since
                                .take_if(|(period, _)| *period != pass.period);
                            half_open_since.get_or_insert((pass.period, test.now));
                        }
                        in_flight.push(pass);
                    }
                }
                Step::End(nth, outcome) => {
                    if !in_flight.is_empty() {
                        let pass = in_flight.swap_remove(nth % in_flight.len());
                        let change = test.end(pass, outcome);
                        if let Some(Change::Opened { pause } | Change::OpenedAgain { pause }) = change {
                            prop_assert!(outcome != Outcome::Unknown);
                            prop_assert!(pause <= test.rules.max_backoff);
                        }
                    }
                }
            }
            let of_now = |period: &&u64| **period == test.circuit.period;
            let half_open = matches!(test.circuit.state, CircuitState::HalfOpen { .. });
            let running = in_flight
                .iter()
                .filter(|pass| half_open && pass.period == test.circuit.period)
                .count();
            let since = half_open_since.map_or(test.now, |(_, since)| since);
            let pauses = (test.now - since).as_millis() / test.rules.initial_backoff.as_millis();
            prop_assert!(running <= test.rules.half_open_calls as usize + pauses as usize);
            prop_assert!(probes.iter().filter(of_now).count() >= running);
        }
        for pass in in_flight {
            test.end(pass, Outcome::Unknown);
        }
        test.now += test.rules.max_backoff;
        for _ in 0..test.rules.half_open_calls {
            if !test.circuit.is_closed() {
                test.call(Outcome::Success);
            }
        }
        prop_assert!(test.circuit.is_closed());
    }

    /// The window contains the calls that ended within it, to a tenth of its length.
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
