//! Streams whose callers take nothing, and that give their places to calls which need them.
//!
//! A stream of answers may pause for as long as its caller likes, as long as nobody else is kept out.
//! Where a call finds all places of the method taken, the stream that has [stalled](MAX_STALL) for
//! longest ends, and the call gets its place at once.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::admission::{Admission, Permit};

/// A stream whose caller has taken nothing for this long gives its place to others.
pub(super) const MAX_STALL: Duration = Duration::from_secs(10);

/// All streams are looked at no more often than this: calls that find no place may be many.
const SCAN: Duration = Duration::from_millis(100);

/// A call with a stream of answers.
pub(super) trait Stalling: Send + Sync {
    /// Since when its caller has taken nothing of what there is.
    fn stalled_since(&self) -> Option<Instant>;

    /// Ends it: another call has its place.
    fn end(&self);
}

/// The streams of a method.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u64, Arc<Stream>>,
    last: u64,
    /// Those that had stalled when all were looked at, the one that has for longest at the end.
    stalled: Vec<u64>,
    next_scan: Option<Instant>,
}

struct Stream {
    /// Until it is taken away.
    permit: Mutex<Option<Permit>>,
    call: Box<dyn Stalling>,
}

/// The place of a stream that may be taken away, given back when dropped.
#[derive(Debug)]
pub(super) struct Lent {
    gate: Arc<Admission>,
    number: u64,
}

/// What a stream of answers holds of its method.
#[derive(Debug)]
pub(super) enum StreamPlace {
    /// Of callers in this process, whose streams nobody ends.
    Own(#[expect(dead_code, reason = "it is held")] Permit),
    Lent(#[expect(dead_code, reason = "it is held")] Lent),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    fn take(&self) -> Option<Permit> {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        permit.take()
    }

    fn has_stalled(&self, now: Instant) -> Option<Instant> {
        let since = self.call.stalled_since();
        since.filter(|since| now >= *since + MAX_STALL)
    }
}

impl Streams {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the stream that has stalled for longest, if one has for too long, and gives its place.
    pub(super) fn reclaim(&self) -> Option<Permit> {
        self.reclaim_at(Instant::now())
    }

    fn reclaim_at(&self, now: Instant) -> Option<Permit> {
        let stream = self.state().next_stalled(now)?;
        // Outside of the lock: the end of a call takes others.
        let permit = stream.take();
        stream.call.end();
        permit
    }
}

impl State {
    fn next_stalled(&mut self, now: Instant) -> Option<Arc<Stream>> {
        if self.streams.is_empty() {
            return None;
        }
        if self.stalled.is_empty() && self.next_scan.is_none_or(|at| at <= now) {
            self.next_scan = Some(now + SCAN);
            let stalled = self.streams.iter();
            let stalled = stalled.filter_map(|(number, stream)| {
                let since = stream.has_stalled(now)?;
                Some((since, *number))
            });
            let mut stalled: Vec<_> = stalled.collect();
            stalled.sort_unstable_by(|a, b| b.cmp(a));
            self.stalled = stalled.into_iter().map(|(_, number)| number).collect();
        }
        while let Some(number) = self.stalled.pop() {
            // It may have gone on since it was looked at, or have ended.
            let stream = self.streams.get(&number);
            if stream.is_some_and(|stream| stream.has_stalled(now).is_some()) {
                return self.streams.remove(&number);
            }
        }
        None
    }
}

impl Lent {
    pub(super) fn new(gate: &Arc<Admission>, permit: Permit, call: Box<dyn Stalling>) -> Self {
        let stream = Arc::new(Stream {
            permit: Mutex::new(Some(permit)),
            call,
        });
        let mut state = gate.streams().state();
        state.last += 1;
        let number = state.last;
        state.streams.insert(number, stream);
        drop(state);
        Self {
            gate: Arc::clone(gate),
            number,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let stream = self.gate.streams().state().streams.remove(&self.number);
        // Outside of the lock: the permit goes to the next call.
        drop(stream);
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::server::{admission::Admitted, client_id::ClientId};

    #[derive(Clone, Default)]
    struct Call(Arc<Mutex<(Option<Instant>, u32)>>);

    impl Call {
        fn stall(&self, since: Option<Instant>) {
            self.0.lock().unwrap().0 = since;
        }

        fn ends(&self) -> u32 {
            self.0.lock().unwrap().1
        }
    }

    impl Stalling for Call {
        fn stalled_since(&self) -> Option<Instant> {
            self.0.lock().unwrap().0
        }

        fn end(&self) {
            self.0.lock().unwrap().1 += 1;
        }
    }

    fn enter(gate: &Arc<Admission>) -> Option<Permit> {
        let open = CancellationToken::new();
        match gate.enter(&open, 0, || ClientId::numbered(1)) {
            Admitted::Now(permit) => Some(permit),
            Admitted::Later(_) => panic!("it has no queue"),
            Admitted::Refused(_) => None,
        }
    }

    #[test]
    fn a_stalled_stream_gives_its_place_to_a_call_that_has_none() {
        let gate = Admission::new(2, 0, 0);
        let calls = [Call::default(), Call::default()];
        let lent = calls.clone().map(|call| {
            let permit = enter(&gate).unwrap();
            gate.lend(permit, Box::new(call))
        });
        assert!(enter(&gate).is_none());
        std::thread::sleep(SCAN);
        let Some(long_ago) = Instant::now().checked_sub(MAX_STALL) else {
            return;
        };
        calls[1].stall(Some(long_ago));
        calls[0].stall(Some(Instant::now()));
        let taken = enter(&gate).unwrap();
        assert_eq!([calls[0].ends(), calls[1].ends()], [0, 1]);
        assert!(enter(&gate).is_none());
        assert_eq!(gate.running(), 2);

        // It has nothing more to give back.
        drop(lent);
        assert_eq!(gate.running(), 1);
        drop(taken);
        assert_eq!(gate.running(), 0);
    }

    #[test]
    fn a_stream_that_goes_on_keeps_its_place() {
        let gate = Admission::new(1, 0, 0);
        let call = Call::default();
        let lent = gate.lend(enter(&gate).unwrap(), Box::new(call.clone()));
        let now = Instant::now();
        call.stall(Some(now));
        let streams = gate.streams();
        assert!(streams.reclaim_at(now + MAX_STALL / 2).is_none());
        call.stall(Some(now + MAX_STALL / 2));
        assert!(streams.reclaim_at(now + MAX_STALL).is_none());
        assert!(streams.reclaim_at(now + MAX_STALL * 2).is_some());
        drop(lent);
    }
}
