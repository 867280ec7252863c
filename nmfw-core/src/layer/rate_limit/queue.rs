//! [`Queue`]: who waits for a token, and whose turn it is.
//!
//! Each waiter has a timer of its own and takes its token itself, so that one whose future nobody polls
//! holds up nobody: the first in the line wakes when a token comes, those behind it a [moment](GRACE)
//! after their turn would have been, and they pass over who has not come. Whoever leaves the line rings
//! for the one that moves up. So each token and each leaver wakes one waiter, besides timers that are due.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};

use crate::token_bucket::{Bucket, Pace};

/// How long a token waits for the one whose turn it is. Tasks that are woken run sooner by far, unless
/// there is more to do than threads can.
pub(crate) const GRACE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Queue {
    pace: Pace,
    bucket: Bucket,
    /// By ticket, which is the order of arrival. Who was passed over is not in it until it comes.
    line: VecDeque<Entry>,
    last_ticket: u64,
    /// Those passed over among them, each of which keeps its request in memory.
    waiting: usize,
    /// To be rung once the lock of this is given back: a waker may do whatever it likes.
    ring: Option<Arc<Notify>>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    /// When its turn comes, as far as it knows.
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

    /// Whom to ring for, after the lock.
    pub(crate) fn take_ring(&mut self) -> Option<Arc<Notify>> {
        self.ring.take()
    }

    /// Takes a token for one that has just come, if there is one and nobody is before it.
    pub(crate) fn take_at_once(&mut self, now: Instant) -> bool {
        self.pass_over(u64::MAX, now);
        self.line.is_empty() && self.bucket.take(&self.pace, now)
    }

    /// When one that has just come would have its turn; `None` if never. Those before it can only leave,
    /// unless one comes that was passed over.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.bucket.due(&self.pace, self.line.len(), now)
    }

    /// Lets one wait, whose turn comes then. It has to [leave](Self::leave).
    pub(crate) fn join(&mut self, due: Instant, bell: &Arc<Notify>) -> u64 {
        self.waiting += 1;
        self.last_ticket += 1;
        let (ticket, bell) = (self.last_ticket, Arc::clone(bell));
        self.line.push_back(Entry { ticket, due, bell });
        ticket
    }

    /// Takes a token for one that waits; or else tells until when it is to sleep, if its bell does not
    /// ring before.
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
        // None joins a line without a pace.
        let due = self.bucket.due(&self.pace, place, now).unwrap_or(now);
        match self.line.get_mut(place) {
            Some(entry) if entry.ticket == ticket => entry.due = due,
            // It was passed over, and is here now.
            _ => {
                let bell = Arc::clone(bell);
                self.line.insert(place, Entry { ticket, due, bell });
            }
        }
        // The first finds no token now, and those behind sleep for a while whatever is due: nobody spins.
        Some(if place == 0 { due } else { due + GRACE })
    }

    /// One that does not wait any longer, with a token or without.
    pub(crate) fn leave(&mut self, ticket: u64, now: Instant) {
        self.waiting -= 1;
        self.remove(ticket, now);
    }

    /// Has those before this one lose their turn that had time to come for the token that is there.
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

    /// How many are before it.
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
            // Not later: who does not come is not due anew each time that it is called.
            entry.due = entry.due.min(due);
            self.ring = Some(Arc::clone(&entry.bell));
        }
    }
}
