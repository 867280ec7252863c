//! Tests for the choice of sessions that the pool keeps.

use super::*;
use crate::nats::session::protocol::Opened;

/// The epoch of the connection.
const EPOCH: u64 = 1;

fn session(instance: &str) -> Arc<Handle> {
    let handle = Handle::new(64);
    handle.opened(Opened {
        instance: instance.to_owned(),
        methods: Vec::new(),
        max_streams: 9,
        max_message: 9,
    });
    handle.heard_in(EPOCH);
    Arc::new(handle)
}

fn is_open(state: &PoolState, session: &Arc<Handle>) -> bool {
    let mut open = state.open.iter();
    open.any(|member| Arc::ptr_eq(&member.handle, session))
}

fn grow_old(state: &mut PoolState) {
    for member in &mut state.open {
        member.until = Instant::now();
    }
}

/// Returns a state with sessions to a near and a far instance, as after an absence of the near one.
fn near_and_far() -> (PoolState, [Arc<Handle>; 2]) {
    let both = ["near", "far"].map(session);
    let mut state = PoolState::default();
    for session in &both {
        assert!(state.admit(Arc::clone(session), EPOCH).is_empty());
    }
    (state, both)
}

#[test]
fn an_old_session_that_is_passed_over_is_given_up() {
    let (mut state, [_, far]) = near_and_far();
    for _ in 0..20 {
        assert_eq!(state.admit(session("near"), EPOCH).len(), 1);
    }
    assert!(
        is_open(&state, &far),
        "a session is replaced before its maximum age"
    );

    let (mut state, [near, far]) = near_and_far();
    grow_old(&mut state);
    for _ in 1..FAR_OPENS * 2 {
        assert_eq!(state.admit(session("near"), EPOCH).len(), 1);
    }
    assert!(is_open(&state, &far), "a session is closed too early");
    let left = state.admit(session("near"), EPOCH);
    assert!(left.iter().any(|left| Arc::ptr_eq(left, &far)));
    assert_eq!((left.len(), state.open.len()), (2, 1));
    assert!(is_open(&state, &near));
}

#[test]
fn one_that_is_found_again_is_kept() {
    let (mut state, both) = near_and_far();
    for _ in 0..10 {
        grow_old(&mut state);
        for instance in ["near", "near", "near", "near", "near", "far"] {
            assert_eq!(state.admit(session(instance), EPOCH).len(), 1);
        }
    }
    assert!(both.iter().all(|session| is_open(&state, session)));
}

#[test]
fn the_only_one_is_kept() {
    let mut state = PoolState::default();
    let only = session("only");
    assert!(state.admit(Arc::clone(&only), EPOCH).is_empty());
    for _ in 0..20 {
        grow_old(&mut state);
        assert_eq!(state.admit(session("only"), EPOCH).len(), 1);
    }
    assert!(is_open(&state, &only));
}

/// Calls avoid a suspect session, and use a session whose service is disconnected only as a last
/// resort.
#[test]
fn suspect_sessions_are_left() {
    use crate::{MethodSpec, ServiceSpec, nats::session::protocol::Liveness};

    static SPEC: ServiceSpec =
        ServiceSpec::new("calc", "Calc").with_methods(&[MethodSpec::unary("Add")]);
    let method = SPEC.method(0);
    let both = ["suspect", "sure"].map(session);
    let [suspect, sure] = &both;
    let chosen = |open: &[Arc<Handle>], is_last_resort: bool| {
        let choice = choose(open, method, None, (!is_last_resort).then_some(EPOCH));
        (choice.handle, choice.wants_more)
    };
    let is = |chosen: &Option<Arc<Handle>>, session: &Arc<Handle>| {
        chosen
            .as_ref()
            .is_some_and(|chosen| Arc::ptr_eq(chosen, session))
    };
    for liveness in [Liveness::Silent, Liveness::Vanished, Liveness::Gone] {
        suspect.liveness(liveness);
        for _ in 0..20 {
            assert!(is(&chosen(&both, false).0, sure), "{liveness:?}");
        }
        let alone = &both[..1];
        let (handle, wants_more) = chosen(alone, false);
        assert!(wants_more);
        match liveness {
            // The cause may be on the path to all services.
            Liveness::Silent => assert!(is(&handle, suspect)),
            _ => assert!(handle.is_none()),
        }
        assert!(is(&chosen(alone, true).0, suspect));
    }
    suspect.liveness(Liveness::Alive);
    assert!(is(&chosen(&both[..1], false).0, suspect));
    // After a reconnect of the client.
    let choice = choose(&both[..1], method, None, Some(EPOCH + 1));
    assert!(choice.handle.is_none() && choice.wants_more);
    sure.heard_in(EPOCH + 1);
    let choice = choose(&both, method, None, Some(EPOCH + 1));
    assert!(is(&choice.handle, sure));
}

/// Both sessions are with the same instance, which has closed the first while the client was
/// disconnected.
#[test]
fn a_session_that_is_not_heard_after_a_reconnect_is_replaced() {
    let mut state = PoolState::default();
    let (old, new) = (session("only"), session("only"));
    assert!(state.admit(Arc::clone(&old), EPOCH).is_empty());
    new.heard_in(EPOCH + 1);
    let left = state.admit(Arc::clone(&new), EPOCH + 1);
    assert!(left.iter().all(|left| Arc::ptr_eq(left, &old)) && left.len() == 1);
    assert!(is_open(&state, &new) && !is_open(&state, &old));
}
