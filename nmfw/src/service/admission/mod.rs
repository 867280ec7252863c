//! [`Admission`]: which calls of a method run now, which wait, and which are turned away.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    client_id::ClientId,
    fair_queue::{Excess, FairQueue, Place},
    stalled::{Lent, Stalling, Stream, Streams},
};
use crate::{Deadline, Status};

/// One waiting call in [`Admission::state`].
const WAITING: u64 = 1 << 32;

/// The gate of one method: at most `limit` handlers at a time, at most `queue` requests behind
/// them, of at most `queue_bytes`. It never waits by itself, so that a reader task can ask it.
///
/// Clients take turns: a client that has many calls waiting makes others wait for one of them at a
/// time, and loses the newest of them if there is no room for calls of others.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Free places in the lower 32 bits, waiting calls in the upper ones. While calls wait, a free
    /// place is theirs.
    state: AtomicU64,
    waiting: Mutex<FairQueue<oneshot::Sender<Turn>>>,
    /// Calls that stream, whose places may be taken away.
    streams: Streams,
    limit: usize,
    queue: usize,
    queue_bytes: usize,
}

/// The answer of the gate to a request.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Runs now, and until the permit is dropped.
    Now(Permit),
    /// Has a place in the queue.
    Later(Ticket),
    /// There is no place.
    Refused(Status),
}

/// A place among the calls that run, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<Admission>>);

/// What comes of waiting.
#[derive(Debug)]
enum Turn {
    Granted(Permit),
    Displaced,
}

/// A place in the queue, given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Admission>,
    place: Place,
    turn: oneshot::Receiver<Turn>,
}

impl Admission {
    pub(crate) fn new(limit: usize, queue: usize, queue_bytes: usize) -> Arc<Self> {
        // More would not fit into the memory of any machine.
        let most = u32::MAX as usize;
        let limit = limit.min(most);
        Arc::new(Self {
            state: AtomicU64::new(limit as u64),
            waiting: Mutex::default(),
            streams: Streams::default(),
            limit,
            queue: queue.min(most),
            queue_bytes,
        })
    }

    /// Asks for a place for a request of so many bytes. The client is asked for only if there is no
    /// free place.
    ///
    /// `draining` closes the queue, not the door: a call that can start at once still does.
    pub(crate) fn enter(
        self: &Arc<Self>,
        draining: &CancellationToken,
        bytes: usize,
        client: impl FnOnce() -> ClientId,
    ) -> Admitted {
        if self.take(|state| (1..WAITING).contains(&state)) {
            return Admitted::Now(self.permit());
        }
        self.join(draining, bytes, client())
    }

    /// Takes a free place under a condition on the state, which has to see to it that there is one.
    fn take(&self, may: impl Fn(u64) -> bool) -> bool {
        let taken = self
            .state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
                may(state).then(|| state - 1)
            });
        taken.is_ok()
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit(Some(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<oneshot::Sender<Turn>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends the place of a call that streams to it, until it is dropped, or until it does not go on and
    /// another call needs the place.
    pub(crate) fn lend(
        self: &Arc<Self>,
        permit: Permit,
        stream: Arc<Stream<dyn Stalling>>,
    ) -> Lent {
        Lent::new(self, permit, stream)
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Looks after streams that do not go on: their places are for calls that wait, or come later. To be
    /// called now and then.
    pub(crate) fn look(&self) {
        if self.waiting() > 0 {
            self.reclaim_for_waiting();
        } else if self.running() == self.limit {
            self.streams.look();
        }
    }

    fn reclaim_for_waiting(&self) {
        for _ in 0..self.waiting() {
            let Some(client) = self.lock().first() else {
                return;
            };
            let Some(permit) = self.streams.reclaim(client, self.limit) else {
                return;
            };
            drop(permit);
        }
    }

    #[cold]
    fn join(
        self: &Arc<Self>,
        draining: &CancellationToken,
        bytes: usize,
        client: ClientId,
    ) -> Admitted {
        if draining.is_cancelled() {
            return Admitted::Refused(stopping());
        }
        if self.waiting() == 0
            && let Some(permit) = self.streams.reclaim(client, self.limit)
        {
            return Admitted::Now(permit);
        }
        self.reclaim_for_waiting();
        let mut displaced = Vec::new();
        let joined = {
            let mut waiting = self.lock();
            match self.make_room(&mut waiting, client, bytes, &mut displaced) {
                Ok(()) => {
                    let (sender, turn) = oneshot::channel();
                    let place = waiting.push(client, bytes, sender);
                    self.state.fetch_add(WAITING, Ordering::SeqCst);
                    Ok((place, turn))
                }
                Err(status) => Err(status),
            }
        };
        for waiter in displaced {
            // Fails if the call has just been given up.
            _ = waiter.send(Turn::Displaced);
        }
        match joined {
            Ok((place, turn)) => {
                // A place may have become free before the call was counted as waiting.
                self.dispatch();
                Admitted::Later(Ticket {
                    gate: Arc::clone(self),
                    place,
                    turn,
                })
            }
            // The same, for a call that cannot wait.
            Err(_) if self.take(|state| (1..WAITING).contains(&state)) => {
                Admitted::Now(self.permit())
            }
            Err(status) => Admitted::Refused(status),
        }
    }

    /// Makes room for a request, in favor of clients that have less waiting.
    fn make_room(
        &self,
        waiting: &mut FairQueue<oneshot::Sender<Turn>>,
        client: ClientId,
        bytes: usize,
        displaced: &mut Vec<oneshot::Sender<Turn>>,
    ) -> Result<(), Status> {
        loop {
            let excess = if waiting.len() >= self.queue {
                Excess::Items
            } else if waiting.bytes().saturating_add(bytes) > self.queue_bytes {
                Excess::Bytes(bytes)
            } else {
                return Ok(());
            };
            let Some(waiter) = waiting.displace(client, excess) else {
                return Err(self.busy(excess));
            };
            self.state.fetch_sub(WAITING, Ordering::SeqCst);
            displaced.push(waiter);
        }
    }

    /// Gives free places to those that wait.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let waiter = {
                let mut waiting = self.lock();
                if waiting.len() == 0 || !self.take(|state| state % WAITING > 0) {
                    return;
                }
                self.state.fetch_sub(WAITING, Ordering::SeqCst);
                waiting.pop()
            };
            let given = match waiter {
                Some(waiter) => waiter.send(Turn::Granted(self.permit())),
                None => Err(Turn::Displaced),
            };
            if let Err(turn) = given {
                // The call was given up this moment. Not by dropping the permit, which would come here
                // again: there may be many such calls.
                if let Turn::Granted(mut permit) = turn {
                    permit.0 = None;
                }
                self.state.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    pub(crate) fn running(&self) -> usize {
        let free = self.state.load(Ordering::Relaxed) % WAITING;
        // It is no more than the limit, which is a `usize`.
        self.limit - usize::try_from(free).unwrap_or(self.limit)
    }

    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.state.load(Ordering::Relaxed) / WAITING;
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    fn busy(&self, excess: Excess) -> Status {
        let (limit, queue, bytes) = (self.limit, self.queue, self.queue_bytes);
        let text = match excess {
            Excess::Items => format!("busy: {limit} calls are running and {queue} are waiting"),
            Excess::Bytes(_) => format!(
                "busy: {limit} calls are running, and requests of no more than {bytes} bytes may wait"
            ),
        };
        // Not started: the call was not admitted.
        Status::resource_exhausted(text).not_started()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take()
            && gate.state.fetch_add(1, Ordering::SeqCst) >= WAITING
        {
            gate.dispatch();
        }
    }
}

impl Ticket {
    /// Waits for its turn, the deadline, or the drain, whichever comes first. Tells if another client
    /// has got its place.
    pub(crate) async fn turn(
        mut self,
        deadline: Deadline,
        draining: &CancellationToken,
        displaced: impl FnOnce(),
    ) -> Result<Permit, Status> {
        let late = || {
            Status::deadline_exceeded("the deadline passed while the call waited for its turn")
                // Not started: the call still waits.
                .not_started()
        };
        tokio::select! {
            biased;
            turn = &mut self.turn => match turn {
                // The call ahead often has the same deadline, and makes room by reaching it. Timers
                // are coarse, so that this one's may not have fired yet.
                Ok(Turn::Granted(_)) if deadline.has_passed() => Err(late()),
                Ok(Turn::Granted(permit)) => Ok(permit),
                Ok(Turn::Displaced) => {
                    displaced();
                    let text = "busy: the call waited for its turn, and made room for a client that \
                                has fewer calls waiting";
                    // Not started: the call still waits.
                    Err(Status::resource_exhausted(text).not_started())
                }
                // The gate lives as long as the ticket, and drops nobody without a word.
                Err(_) => Err(stopping()),
            },
            () = draining.cancelled() => Err(stopping()),
            () = deadline.passed() => Err(late()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let removed = self.gate.lock().remove(self.place);
        if removed.is_some() {
            self.gate.state.fetch_sub(WAITING, Ordering::SeqCst);
        }
        // A permit that has come meanwhile is in `turn`, and goes to the next call from there.
    }
}

fn stopping() -> Status {
    // Not started: the call was not admitted, or still waits.
    Status::unavailable("this instance is stopping").not_started()
}

#[cfg(test)]
mod tests;
