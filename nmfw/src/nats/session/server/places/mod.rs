//! [`Places`]: the sessions that are open, the share that each client has of them, and which one makes
//! room for another.
//!
//! What sessions take up is their packet windows: the subscription has to hold the packets of all of
//! them. When a new session finds no room, it gets the place of another:
//!
//! 1. that of a session that is idle: first of a client that has more than its share, first one that
//!    was never used, then the one that has been idle for longest. It is told in good order, so that
//!    its client opens another one for its next call;
//! 2. if none is idle, and a client has more than its share, sessions of that client are told to end
//!    when their calls are over; those that are not over after a while are ended, and their calls.
//!
//! A client that has its share gets only places of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::Subject;

use super::calls::Command;
use crate::{
    Status,
    nats::session::driver::{self, Mailbox},
};
use nmfw_core::{observe::metrics, service::client_id::ClientId};

/// Packets that a session may have on their way to this side: enough for a gigabyte a second where
/// the way takes a millisecond. And when there are many sessions.
pub(crate) const WINDOW: u32 = 64;
pub(crate) const SMALL_WINDOW: u32 = 8;

/// The part of the places that one client has for certain, and gets no more than while others ask.
const SHARE: usize = 4;

/// Sessions whose client has not been heard of since ACCEPT: of the smallest ones, a quarter of the
/// places, within these bounds. The oldest goes for a new one.
const HALF_OPEN: usize = 4;
const MIN_HALF_OPEN: usize = 16;
const MAX_HALF_OPEN: usize = 1024;

/// The part of the places that may be given away while their sessions still say goodbye, which takes
/// honest clients a round trip. Beyond that, idle sessions are ended at once, calls that are on their
/// way to them included, and only those of clients with more than their share.
const LEAVING: usize = 2;

/// A session that was never used is not idle before: its client may be about to use it.
const MIN_AGE: Duration = Duration::from_millis(250);

/// Time for the calls of a session that is told to end for its client's share.
const MAX_LEAVING: Duration = Duration::from_secs(10);

/// The sessions of one instance.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) sessions: HashMap<u64, Entry>,
    /// Those that are not confirmed, in the order of their beginning.
    half_open: BTreeMap<u64, u64>,
    /// What sessions hold, and what those have that leave and whose places are given away.
    window: usize,
    leaving: usize,
    /// What each client's sessions hold.
    clients: HashMap<ClientId, usize>,
    next: u64,
    began: Instant,
    pub(crate) is_draining: bool,
    /// The NATS server does not let packets of single methods' sessions arrive.
    pub(crate) is_denied: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where its packets arrive.
    pub(crate) subject: Subject,
    pub(crate) mailbox: Arc<Mailbox<Command>>,
    client: ClientId,
    number: u64,
    opened: Instant,
    usage: Arc<Usage>,
    window: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    HalfOpen,
    Confirmed,
    /// Told to end when its calls are over. Its place is its own until then.
    Leaving(Instant),
    /// Its place is given away.
    Evicted,
}

/// When a session was used last: written by its task, read for those that look for a place.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Milliseconds since `began`, and one; [`BUSY`] while calls are open, 0 before the first.
    idle_since: AtomicU64,
    began: Instant,
}

const BUSY: u64 = u64::MAX;

impl Usage {
    fn new(began: Instant) -> Arc<Self> {
        Arc::new(Self {
            idle_since: AtomicU64::new(0),
            began,
        })
    }

    /// Calls are open, or none any more.
    pub(crate) fn set(&self, is_busy: bool, now: Instant) {
        let value = match is_busy {
            true => BUSY,
            false => millis(self.began, now) + 1,
        };
        self.idle_since.store(value, Ordering::Relaxed);
    }

    /// `None` while it is busy.
    fn idle_since(&self) -> Option<u64> {
        let since = self.idle_since.load(Ordering::Relaxed);
        (since != BUSY).then_some(since)
    }
}

fn millis(began: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(began).as_millis();
    u64::try_from(since).unwrap_or(BUSY - 1).min(BUSY - 2)
}

/// A new session.
pub(crate) struct NewSession {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) subject: Subject,
}

/// What a new session gets.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) window: u32,
    pub(crate) mailbox: Arc<Mailbox<Command>>,
    pub(crate) usage: Arc<Usage>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            sessions: HashMap::new(),
            half_open: BTreeMap::new(),
            window: 0,
            leaving: 0,
            clients: HashMap::new(),
            next: 0,
            began: driver::now(),
            is_draining: false,
            is_denied: false,
        }
    }
}

impl Places {
    /// Makes room for a session, with the packet window that it gets, if all windows may come to `most`.
    ///
    /// # Errors
    /// That there is no room, and why.
    pub(crate) fn make_room(
        &mut self,
        client: ClientId,
        most: usize,
        now: Instant,
    ) -> Result<u32, Status> {
        let max_half_open =
            (most / SMALL_WINDOW as usize / HALF_OPEN).clamp(MIN_HALF_OPEN, MAX_HALF_OPEN);
        while self.half_open.len() >= max_half_open
            && let Some((_, id)) = self.half_open.pop_first()
        {
            self.end(id, "too many sessions are being opened");
        }
        loop {
            if let Some(window) = self.next_window(most) {
                return Ok(window);
            }
            if !self.evict(client, most, now) {
                break;
            }
        }
        let text = format!("{} sessions are open: no more", self.sessions.len());
        Err(Status::resource_exhausted(text).not_started())
    }

    /// Adds a session for which there is room.
    pub(crate) fn add(&mut self, new: NewSession, window: u32, now: Instant) -> Granted {
        let NewSession {
            client,
            id,
            subject,
        } = new;
        self.next += 1;
        let number = self.next;
        let mailbox = Arc::new(Mailbox::new(window));
        let usage = Usage::new(self.began);
        let entry = Entry {
            subject,
            mailbox: Arc::clone(&mailbox),
            client,
            number,
            opened: now,
            usage: Arc::clone(&usage),
            window,
            stage: Stage::HalfOpen,
        };
        self.sessions.insert(id, entry);
        self.half_open.insert(number, id);
        self.hold(client, window);
        Granted {
            window,
            mailbox,
            usage,
        }
    }

    /// The client has been heard of since ACCEPT.
    pub(crate) fn confirm(&mut self, id: u64) {
        if let Some(entry) = self.sessions.get_mut(&id)
            && entry.stage == Stage::HalfOpen
        {
            entry.stage = Stage::Confirmed;
            self.half_open.remove(&entry.number);
        }
    }

    /// Gets a small window made large, for a session that turns out to be busy. The last quarter is
    /// left for those to come, and the second half, where there are several clients, for those that have
    /// not got their share.
    pub(crate) fn widen(&mut self, id: u64, most: usize) -> Option<u32> {
        let entry = self.sessions.get_mut(&id)?;
        let more = WINDOW.saturating_sub(entry.window);
        if more == 0 || matches!(entry.stage, Stage::Leaving(_) | Stage::Evicted) {
            return None;
        }
        let all = self.window + more as usize;
        let own = self.clients.get(&entry.client).copied().unwrap_or(0) + more as usize;
        let is_shared = self.clients.len() > 1 && all > most / 2;
        if all > most / 4 * 3 || (is_shared && own > most / SHARE) {
            return None;
        }
        entry.window = WINDOW;
        entry.mailbox.widen(WINDOW);
        let client = entry.client;
        self.hold(client, more);
        Some(WINDOW)
    }

    /// The session has ended.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(entry) = self.sessions.remove(&id) else {
            return;
        };
        self.half_open.remove(&entry.number);
        match entry.stage {
            Stage::Evicted => self.leaving -= entry.window as usize,
            _ => self.release(entry.client, entry.window),
        }
    }

    fn hold(&mut self, client: ClientId, window: u32) {
        self.window += window as usize;
        *self.clients.entry(client).or_default() += window as usize;
    }

    fn release(&mut self, client: ClientId, window: u32) {
        self.window -= window as usize;
        if let Some(own) = self.clients.get_mut(&client) {
            *own -= window as usize;
            if *own == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// The packet window of a further session, if all of them may come to `most`. The first half is
    /// given away at large, the rest in small coins, so that there is room for thousands of
    /// sessions, most of which are idle.
    fn next_window(&self, most: usize) -> Option<u32> {
        let window = if self.window < most / 2 {
            WINDOW
        } else {
            SMALL_WINDOW
        };
        (self.window + window as usize <= most).then_some(window)
    }

    /// Takes the place of a session, and says whether one was taken.
    fn evict(&mut self, newcomer: ClientId, most: usize, now: Instant) -> bool {
        let own = self.clients.get(&newcomer).copied().unwrap_or(0);
        let is_over_share = |held: usize| held > most / SHARE;
        let has_its_share = is_over_share(own + SMALL_WINDOW as usize);
        let mut idle = None;
        let mut busy: Option<(u64, u64)> = None;
        for (id, entry) in &self.sessions {
            let is_own = entry.client == newcomer;
            if has_its_share && !is_own {
                continue;
            }
            let held = self.clients.get(&entry.client).copied().unwrap_or(0);
            match entry.stage {
                Stage::Confirmed => {}
                Stage::Leaving(since) if now >= since + MAX_LEAVING => {
                    let id = *id;
                    self.end(id, "the client has more than its share of sessions");
                    return true;
                }
                Stage::Leaving(_) | Stage::Evicted | Stage::HalfOpen => continue,
            }
            match entry.usage.idle_since() {
                Some(since) if since > 0 || now >= entry.opened + MIN_AGE => {
                    let rank = (!is_over_share(held), since, entry.number);
                    if idle.is_none_or(|(best, _)| rank < best) {
                        idle = Some((rank, *id));
                    }
                }
                _ if is_over_share(held)
                    && !is_own
                    && busy.is_none_or(|(oldest, _)| entry.number < oldest) =>
                {
                    busy = Some((entry.number, *id));
                }
                _ => {}
            }
        }
        if let Some(((has_no_more, ..), id)) = idle {
            return self.evict_idle(id, most, !has_no_more);
        }
        if let Some((_, id)) = busy
            && let Some(entry) = self.sessions.get_mut(&id)
        {
            // It takes no new calls; there is room once the present ones are over.
            entry.stage = Stage::Leaving(now);
            entry.mailbox.drain();
            metrics::session_evicted();
        }
        false
    }

    /// Gives the place of an idle session away while it says goodbye.
    fn evict_idle(&mut self, id: u64, most: usize, is_over_share: bool) -> bool {
        let Some(entry) = self.sessions.get(&id) else {
            return false;
        };
        if self.leaving + entry.window as usize <= most / LEAVING {
            entry.mailbox.drain();
            metrics::session_evicted();
            self.give_away(id);
        } else if is_over_share {
            self.end(id, "the session was idle, and others need its place");
        } else {
            return false;
        }
        true
    }

    /// Ends a session at once, for others to have its place.
    fn end(&mut self, id: u64, why: &'static str) {
        let Some(entry) = self.sessions.get(&id) else {
            return;
        };
        entry.mailbox.fail(Status::resource_exhausted(why));
        metrics::session_evicted();
        self.give_away(id);
    }

    fn give_away(&mut self, id: u64) {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        if entry.stage == Stage::Evicted {
            return;
        }
        entry.stage = Stage::Evicted;
        self.half_open.remove(&entry.number);
        let (client, window) = (entry.client, entry.window);
        self.leaving += window as usize;
        self.release(client, window);
    }
}

#[cfg(test)]
mod tests;
