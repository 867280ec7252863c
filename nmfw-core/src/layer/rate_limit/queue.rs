//! [`Queue`]: the calls that wait for a token, in order.
//!
//! Each waiter has its own timer and takes its token itself, so that a future that is not polled
//! delays no other. The first waiter wakes when a token is due; the others wake a [grace
//! period](GRACE) after their own due time, and pass over waiters that have not taken theirs. A
//! waiter that leaves notifies the one that moves up. Each token and each departure thus wakes one
//! waiter, in addition to timers that are due.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};

use crate::token_bucket::{Bucket, Pace};

/// How long a token is reserved for the waiter whose turn it is. Woken tasks normally run much
/// sooner, unless the threads are overloaded.
pub(crate) const GRACE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Queue {
    pace: Pace,
    bucket: Bucket,
    /// Waiters by ticket, in order of arrival. A waiter that was passed over is missing until it is
    /// polled again.
    line: VecDeque<Entry>,
    last_ticket: u64,
    /// Number of waiters, including those passed over; each keeps its request in memory.
    waiting: usize,
    /// Notified after the lock is released, because a waker may run arbitrary code.
    ring: Option<Arc<Notify>>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    /// The time at which its token is due, according to its last poll.
    due: Instant,
    bell: Arc<Notify>,
}

impl Queue {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            bucket: Bucket::default(),
            line: VecDeque::new(),
            last_ticket: 0,
            waiting: 0,
            ring: None,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the waiter to notify after releasing the lock.
    pub(crate) fn take_ring(&mut self) -> Option<Arc<Notify>> {
        self.ring.take()
    }

    /// Takes a token for a new call, if one is available and no call is waiting.
    pub(crate) fn take_at_once(&mut self, now: Instant) -> bool {
        self.pass_over(u64::MAX, now);
        self.line.is_empty() && self.bucket.take(&self.pace, now)
    }

    /// Returns when a new call would have its turn; `None` for never. Waiters before it can only
    /// leave, unless one returns that was passed over.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.bucket.due(&self.pace, self.line.len(), now)
    }

    /// Adds a waiter whose turn comes at `due`. It has to [leave](Self::leave).
    pub(crate) fn join(&mut self, due: Instant, bell: &Arc<Notify>) -> u64 {
        self.waiting += 1;
        self.last_ticket += 1;
        let (ticket, bell) = (self.last_ticket, Arc::clone(bell));
        self.line.push_back(Entry { ticket, due, bell });
        ticket
    }

    /// Takes a token for a waiter; otherwise returns how long it should sleep, unless it is
    /// notified earlier.
    pub(crate) fn take_or_sleep(
        &mut self,
        ticket: u64,
        bell: &Arc<Notify>,
        now: Instant,
    ) -> Option<Instant> {
        self.pass_over(ticket, now);
        let place = self.place(ticket);
        if place == 0 && self.bucket.take(&self.pace, now) {
            self.remove(ticket, now);
            return None;
        }
        // A waiter cannot join a queue without a rate.
        let due = self.bucket.due(&self.pace, place, now).unwrap_or(now);
        match self.line.get_mut(place) {
            Some(entry) if entry.ticket == ticket => entry.due = due,
            // The waiter was passed over, and is polled again.
            _ => {
                let bell = Arc::clone(bell);
                self.line.insert(place, Entry { ticket, due, bell });
            }
        }
        // The first waiter has no token yet, and the others sleep for a grace period in any case,
        // so that none polls in a loop.
        Some(if place == 0 { due } else { due + GRACE })
    }

    /// Removes a waiter, with or without a token.
    pub(crate) fn leave(&mut self, ticket: u64, now: Instant) {
        self.waiting -= 1;
        self.remove(ticket, now);
    }

    /// Skips waiters before this one that have had time to take the available token.
    fn pass_over(&mut self, ticket: u64, now: Instant) {
        if !self.bucket.has_token(&self.pace, now) {
            return;
        }
        let mut is_moved = false;
        while let Some(first) = self.line.front()
            && first.ticket < ticket
            && first.due + GRACE <= now
        {
            self.line.pop_front();
            is_moved = true;
        }
        if is_moved
            && self
                .line
                .front()
                .is_some_and(|first| first.ticket != ticket)
        {
            self.moves_up(0, now);
        }
    }

    /// Returns the number of waiters before this one.
    fn place(&self, ticket: u64) -> usize {
        self.line.partition_point(|entry| entry.ticket < ticket)
    }

    fn remove(&mut self, ticket: u64, now: Instant) {
        let place = self.place(ticket);
        if self
            .line
            .get(place)
            .is_some_and(|entry| entry.ticket == ticket)
        {
            self.line.remove(place);
            self.moves_up(place, now);
        }
    }

    fn moves_up(&mut self, place: usize, now: Instant) {
        let due = self.bucket.due(&self.pace, place, now);
        if let (Some(entry), Some(due)) = (self.line.get_mut(place), due) {
            // Never later, so that a waiter that is not polled does not become due again on every
            // check.
            entry.due = entry.due.min(due);
            self.ring = Some(Arc::clone(&entry.bell));
        }
    }
}
