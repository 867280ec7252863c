//! Reclaims the slots of streaming calls that stall, for other calls.
//!
//! A stream may be idle for any time while it keeps no call waiting. When a call finds all slots of
//! the method taken, one of these streams is ended, and the call gets its slot at once:
//!
//! 1. the stream whose caller has left available messages unread for longest;
//! 2. a stream that is silent in both directions, of another client that holds more than its share
//!    of the slots. Such a stream may legitimately wait for events, but too many of them exclude
//!    all other clients.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

use super::{
    admission::{Admission, Permit},
    client_id::ClientId,
};
use crate::Status;

/// Time without progress after which a stream may lose its slot.
pub(crate) const MAX_STALL: Duration = Duration::from_secs(10);

/// A client keeps up to `1 / SHARE` of the slots, whether or not its streams make progress.
const SHARE: usize = 4;

/// Minimum interval between scans of all streams, because many calls may find no slot.
const SCAN: Duration = Duration::from_millis(100);

/// A streaming call that may stall.
pub trait Stalling: Send + Sync {
    fn client(&self) -> ClientId;

    /// Returns since when its caller has left available messages unread.
    fn stalled_since(&self) -> Option<Instant>;

    /// Returns a number that increases with every message in either direction.
    fn progress(&self) -> u64;

    /// Ends the call, because another call gets its slot.
    fn end(&self, why: Stall);
}

/// The reason why a call loses its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The caller reads no messages.
    NotTaken,
    /// Both sides are silent, and its client holds more than its share.
    Idle,
}

impl Stall {
    /// Returns the status for the caller.
    pub fn status(self) -> Status {
        Status::resource_exhausted(match self {
            Self::NotTaken => format!(
                "the caller read no messages for {MAX_STALL:?}, and another call needed the \
                 handler slot: read messages as they arrive, or call again"
            ),
            Self::Idle => format!(
                "the stream was idle for {MAX_STALL:?}, and a call of another client needed the \
                 handler slot: this client has more than its share of the method's"
            ),
        })
    }
}

/// The streams of a method.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<StreamsState>);

#[derive(Debug, Default)]
struct StreamsState {
    streams: HashMap<u64, Known, RandomState>,
    last: u64,
    /// The streams that the last scan found stalled, longest last.
    stalled: Vec<u64>,
    idle: Vec<u64>,
    next_scan: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    stream: Arc<Stream<dyn Stalling>>,
    /// The last value of its progress, and the time at which it was first seen.
    seen: Option<(u64, Instant)>,
}

/// A streaming call whose slot can be reclaimed.
pub struct Stream<C: ?Sized> {
    /// The slot of the call, until it is reclaimed.
    permit: Mutex<Option<Permit>>,
    call: C,
}

/// A reclaimable slot of a stream, released when dropped.
#[derive(Debug)]
pub struct Lent {
    gate: Arc<Admission>,
    number: u64,
}

/// The slot of a call.
#[derive(Debug)]
pub enum StreamPlace {
    /// For calls that do not stream, and for local callers.
    Own(Permit),
    Lent(Lent),
}

impl<C: ?Sized> fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl<C: Stalling> Stream<C> {
    pub fn new(call: C) -> Self {
        Self {
            permit: Mutex::default(),
            call,
        }
    }
}

impl Stream<dyn Stalling> {
    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Permit> {
        self.permit().take()
    }

    fn has_stalled(&self, now: Instant) -> Option<Instant> {
        let since = self.call.stalled_since();
        since.filter(|since| now >= *since + MAX_STALL)
    }
}

impl Streams {
    fn state(&self) -> MutexGuard<'_, StreamsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a stalled stream, if there is one, and gives its slot to a call of this client. `limit`
    /// is the number of slots.
    pub(crate) fn reclaim(&self, client: ClientId, limit: usize) -> Option<Permit> {
        self.reclaim_at(client, limit, Instant::now())
    }

    fn reclaim_at(&self, client: ClientId, limit: usize, now: Instant) -> Option<Permit> {
        let (stream, why) = self.state().next(client, limit, now)?;
        // Outside of the lock, because ending a call takes other locks.
        let permit = stream.take();
        stream.call.end(why);
        permit
    }

    /// Scans the streams for progress, for calls that may need a slot later.
    pub(crate) fn look(&self) {
        let mut state = self.state();
        if !state.streams.is_empty() {
            state.scan(Instant::now());
        }
    }
}

impl StreamsState {
    fn next(
        &mut self,
        client: ClientId,
        limit: usize,
        now: Instant,
    ) -> Option<(Arc<Stream<dyn Stalling>>, Stall)> {
        if self.streams.is_empty() {
            return None;
        }
        let is_empty = self.stalled.is_empty() && self.idle.is_empty();
        if is_empty && self.next_scan.is_none_or(|at| at <= now) {
            self.scan(now);
        }
        // A stream may have progressed or ended since the scan.
        while let Some(number) = self.stalled.pop() {
            let known = self.streams.get(&number);
            if known.is_some_and(|known| known.stream.has_stalled(now).is_some()) {
                return self.remove(number).map(|stream| (stream, Stall::NotTaken));
            }
        }
        let share = (limit / SHARE).max(1);
        let mut kept = Vec::new();
        let mut found = None;
        while let Some(number) = self.idle.pop() {
            let Some(known) = self.streams.get(&number) else {
                continue;
            };
            let owner = known.stream.call.client();
            if owner == client {
                // Kept for calls of other clients.
                kept.push(number);
            } else if known.is_idle(now) && self.held_by(owner) > share {
                found = Some(number);
                break;
            }
        }
        self.idle.extend(kept.into_iter().rev());
        self.remove(found?).map(|stream| (stream, Stall::Idle))
    }

    fn scan(&mut self, now: Instant) {
        self.next_scan = Some(now + SCAN);
        let (mut stalled, mut idle) = (Vec::new(), Vec::new());
        for (number, known) in &mut self.streams {
            let progress = known.stream.call.progress();
            let (_, since) = *known.seen.insert(match known.seen {
                Some(seen) if seen.0 == progress => seen,
                _ => (progress, now),
            });
            if let Some(since) = known.stream.has_stalled(now) {
                stalled.push((since, *number));
            } else if known.is_idle(now) {
                idle.push((since, *number));
            }
        }
        let sorted = |mut streams: Vec<(Instant, u64)>| {
            streams.sort_unstable_by(|a, b| b.cmp(a));
            streams.into_iter().map(|(_, number)| number).collect()
        };
        self.stalled = sorted(stalled);
        self.idle = sorted(idle);
    }

    /// Returns the number of slots that a client holds.
    fn held_by(&self, client: ClientId) -> usize {
        let streams = self.streams.values();
        streams
            .filter(|known| known.stream.call.client() == client)
            .count()
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Stream<dyn Stalling>>> {
        self.streams.remove(&number).map(|known| known.stream)
    }
}

impl Known {
    fn is_idle(&self, now: Instant) -> bool {
        let progress = self.stream.call.progress();
        self.seen
            .is_some_and(|(seen, since)| seen == progress && now >= since + MAX_STALL)
    }
}

impl Lent {
    pub(crate) fn new(
        gate: &Arc<Admission>,
        permit: Permit,
        stream: Arc<Stream<dyn Stalling>>,
    ) -> Self {
        *stream.permit() = Some(permit);
        let mut state = gate.streams().state();
        state.last += 1;
        let number = state.last;
        let known = Known { stream, seen: None };
        state.streams.insert(number, known);
        drop(state);
        Self {
            gate: Arc::clone(gate),
            number,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let stream = self.gate.streams().state().remove(self.number);
        // Outside of the lock, because the permit passes to the next call.
        drop(stream);
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::service::{admission::Admitted, client_id::ClientId};

    #[derive(Default)]
    struct Figures {
        client: u64,
        stalled: Option<Instant>,
        progress: u64,
        ends: Vec<Stall>,
    }

    #[derive(Clone, Default)]
    struct TestCall(Arc<Mutex<Figures>>);

    impl TestCall {
        fn of(client: u64) -> Self {
            let call = Self::default();
            call.figures().client = client;
            call
        }

        fn figures(&self) -> MutexGuard<'_, Figures> {
            self.0.lock().unwrap()
        }

        fn lend(&self, gate: &Arc<Admission>) -> Lent {
            let permit = enter(gate, self.figures().client).unwrap();
            gate.lend(permit, Arc::new(Stream::new(self.clone())))
        }
    }

    impl Stalling for TestCall {
        fn client(&self) -> ClientId {
            ClientId::numbered(self.figures().client)
        }

        fn stalled_since(&self) -> Option<Instant> {
            self.figures().stalled
        }

        fn progress(&self) -> u64 {
            self.figures().progress
        }

        fn end(&self, why: Stall) {
            self.figures().ends.push(why);
        }
    }

    fn enter(gate: &Arc<Admission>, client: u64) -> Option<Permit> {
        let open = CancellationToken::new();
        match gate.enter(&open, 0, || ClientId::numbered(client)) {
            Admitted::Now(permit) => Some(permit),
            Admitted::Later(_) => panic!("the method has no queue"),
            Admitted::Refused(_) => None,
        }
    }

    #[test]
    fn a_stalled_stream_gives_its_place_to_a_call_that_has_none() {
        let gate = Admission::new(2, 0, 0);
        let calls = [TestCall::of(1), TestCall::of(1)];
        let lent = [calls[0].lend(&gate), calls[1].lend(&gate)];
        assert!(enter(&gate, 1).is_none());
        let now = Instant::now();
        calls[1].figures().stalled = Some(now);
        calls[0].figures().stalled = Some(now + Duration::from_millis(1));
        let client = ClientId::numbered(1);
        let reclaim = |after| gate.streams().reclaim_at(client, 2, now + after);
        assert!(reclaim(MAX_STALL / 2).is_none());
        let taken = reclaim(MAX_STALL).unwrap();
        assert_eq!(calls[1].figures().ends, [Stall::NotTaken]);
        assert_eq!(calls[0].figures().ends, []);
        assert!(enter(&gate, 2).is_none());
        assert_eq!(gate.running(), 2);

        // The stream has no slot left to release.
        drop(lent);
        assert_eq!(gate.running(), 1);
        drop(taken);
        assert_eq!(gate.running(), 0);
    }

    #[test]
    fn a_stream_that_goes_on_keeps_its_place() {
        let gate = Admission::new(1, 0, 0);
        let call = TestCall::of(1);
        let lent = call.lend(&gate);
        let now = Instant::now();
        let client = ClientId::numbered(1);
        let reclaim = |after| gate.streams().reclaim_at(client, 1, now + after);
        call.figures().stalled = Some(now);
        assert!(reclaim(MAX_STALL / 2).is_none());
        call.figures().stalled = Some(now + MAX_STALL / 2);
        assert!(reclaim(MAX_STALL).is_none());
        assert!(reclaim(MAX_STALL * 2).is_some());
        drop(lent);
    }

    #[test]
    fn idle_streams_of_a_client_with_more_than_its_share_make_room_for_others() {
        const LIMIT: usize = 8;
        let gate = Admission::new(LIMIT, 0, 0);
        let many: Vec<_> = (0..6).map(|_| TestCall::of(1)).collect();
        let few: Vec<_> = (0..2).map(|_| TestCall::of(2)).collect();
        let calls = many.iter().chain(&few);
        let lent: Vec<_> = calls.map(|call| call.lend(&gate)).collect();
        let now = Instant::now();
        let reclaim = |client, after| {
            let client = ClientId::numbered(client);
            gate.streams().reclaim_at(client, LIMIT, now + after)
        };
        assert!(
            reclaim(3, Duration::ZERO).is_none(),
            "new streams lost a slot"
        );
        many[0].figures().progress += 1;
        assert!(
            reclaim(1, MAX_STALL).is_none(),
            "a client reclaimed its own slot"
        );
        let mut taken = Vec::new();
        while let Some(permit) = reclaim(3, MAX_STALL) {
            taken.push(permit);
        }
        // Slots are reclaimed down to the share, but not from streams that progress or from the
        // client with few streams.
        assert_eq!(taken.len(), 4);
        let ended = |call: &&TestCall| call.figures().ends == [Stall::Idle];
        assert_eq!(many.iter().filter(ended).count(), 4);
        assert_eq!(few.iter().filter(ended).count(), 0);
        assert!(many[0].figures().ends.is_empty());
        drop((taken, lent));
        assert_eq!(gate.running(), 0);
    }
}
