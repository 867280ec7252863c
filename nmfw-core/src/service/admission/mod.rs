//! [`Admission`]: decides which calls of a method run, wait or are refused.

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

/// One queued call in [`Admission::state`].
const WAITING: u64 = 1 << 32;

/// The admission control of a method: at most `limit` concurrent handlers, and at most `queue`
/// requests of at most `queue_bytes` behind them. It never waits, so that a reader task can use it.
///
/// Clients are served round-robin: while other clients have calls queued, a client with many queued
/// calls starts one at a time, and loses its newest if the queue is full.
#[derive(Debug)]
pub struct Admission {
    /// Free slots in the lower 32 bits, queued calls in the upper ones. While calls are queued,
    /// free slots are reserved for them.
    state: AtomicU64,
    waiting: Mutex<FairQueue<oneshot::Sender<Turn>>>,
    /// Calls that stream, whose slots can be reclaimed.
    streams: Streams,
    limit: usize,
    queue: usize,
    queue_bytes: usize,
}

/// The outcome of admission.
#[derive(Debug)]
pub enum Admitted {
    /// Runs now, until the permit is dropped.
    Now(Permit),
    /// Waits in the queue.
    Later(Ticket),
    /// Refused: there is no room.
    Refused(Status),
}

/// A slot of a running call, released when dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<Admission>>);

/// The outcome of waiting.
#[derive(Debug)]
enum Turn {
    Granted(Permit),
    Displaced,
}

/// A place in the queue, released when dropped.
#[derive(Debug)]
pub struct Ticket {
    gate: Arc<Admission>,
    place: Place,
    turn: oneshot::Receiver<Turn>,
}

impl Admission {
    pub(crate) fn new(limit: usize, queue: usize, queue_bytes: usize) -> Arc<Self> {
        // More slots would exceed the memory of any machine.
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

    /// Requests admission for a request of `bytes` bytes. `client` is called only if no slot is
    /// free.
    ///
    /// While `draining`, calls are not queued, but calls that can start at once still do.
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

    /// Takes a free slot if `may` accepts the state, which has to imply that there is one.
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

    /// Lends a slot to a streaming call, until it is dropped or reclaimed because the stream stalls
    /// while another call needs the slot.
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

    /// Checks for stalled streams, whose slots go to queued or later calls. Called periodically.
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
            // Fails if the call was just cancelled.
            _ = waiter.send(Turn::Displaced);
        }
        match joined {
            Ok((place, turn)) => {
                // A slot may have become free before the call was counted as queued.
                self.dispatch();
                Admitted::Later(Ticket {
                    gate: Arc::clone(self),
                    place,
                    turn,
                })
            }
            // Retry, for a call that cannot wait.
            Err(_) if self.take(|state| (1..WAITING).contains(&state)) => {
                Admitted::Now(self.permit())
            }
            Err(status) => Admitted::Refused(status),
        }
    }

    /// Makes room for a request by displacing a call of a client with more queued calls.
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

    /// Hands free slots to queued calls.
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
                // The call was just cancelled. The permit is not simply dropped, which would
                // recurse for each of possibly many such calls.
                if let Turn::Granted(mut permit) = turn {
                    permit.0 = None;
                }
                self.state.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    pub fn running(&self) -> usize {
        let free = self.state.load(Ordering::Relaxed) % WAITING;
        // At most the limit, which is a `usize`.
        self.limit - usize::try_from(free).unwrap_or(self.limit)
    }

    pub fn waiting(&self) -> usize {
        let waiting = self.state.load(Ordering::Relaxed) / WAITING;
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    fn busy(&self, excess: Excess) -> Status {
        let (limit, queue, bytes) = (self.limit, self.queue, self.queue_bytes);
        let text = match excess {
            Excess::Items => format!(
                "this instance is busy: {limit} calls are running and {queue} \
                                      are queued, which are the limits"
            ),
            Excess::Bytes(_) => format!(
                "this instance is busy: {limit} calls are running, and queued requests are limited \
                 to {bytes} bytes"
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
    /// Waits for a slot, the deadline or the drain, whichever comes first. Fails if another
    /// client's call takes the place.
    pub(crate) async fn turn(
        mut self,
        deadline: Deadline,
        draining: &CancellationToken,
        displaced: impl FnOnce(),
    ) -> Result<Permit, Status> {
        let late = || {
            Status::deadline_exceeded("the deadline passed while the call was queued")
                // Not started: the call still waits.
                .not_started()
        };
        tokio::select! {
            biased;
            turn = &mut self.turn => match turn {
                // The previous call often has the same deadline and frees its slot by reaching it.
                // Timers are coarse, so this call's timer may not have fired yet.
                Ok(Turn::Granted(_)) if deadline.has_passed() => Err(late()),
                Ok(Turn::Granted(permit)) => Ok(permit),
                Ok(Turn::Displaced) => {
                    displaced();
                    let text = "this instance is busy: the queued call was displaced by a call of \
                                a client with fewer queued calls";
                    // Not started: the call still waits.
                    Err(Status::resource_exhausted(text).not_started())
                }
                // Unreachable in practice: the admission outlives the ticket and sends before
                // dropping a waiter.
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
        // A permit that has arrived meanwhile is in `turn`, and passes to the next call from there.
    }
}

fn stopping() -> Status {
    // Not started: the call was not admitted, or is still queued.
    Status::unavailable("this instance is stopping").not_started()
}

#[cfg(test)]
mod tests;
