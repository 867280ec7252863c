//! [`Places`]: the open sessions, each client's share of them, and the choice of one to close for another.
//!
//! Sessions occupy capacity by their packet windows, because the subscription has to hold the
//! packets of all of them. A new session without room replaces another:
//!
//! 1. an idle session: first of a client with more than its share, preferably one that was never
//!    used, otherwise the one that has been idle longest. It is closed normally, so that its client
//!    opens another one for its next call;
//! 2. if none is idle and a client has more than its share, sessions of that client are asked to
//!    end when their calls have ended; those that have not ended after a while are closed, together
//!    with their calls.
//!
//! A client that has its share can only replace its own sessions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::Subject;

use super::calls::ServerCommand;
use crate::{
    Status,
    nats::session::driver::{self, Mailbox},
};
use nmfw_core::{observe::metrics, service::client_id::ClientId};

/// Packet window of a session: enough for a gigabyte per second with a round trip of a millisecond.
/// The second value applies when there are many sessions.
pub(crate) const WINDOW: u32 = 64;
pub(crate) const SMALL_WINDOW: u32 = 8;

/// The fraction of the capacity, as a divisor, that each client is guaranteed, and limited to while
/// others need it.
const SHARE: usize = 4;

/// Limits on sessions whose client has sent no packet since ACCEPT: a quarter of the capacity in
/// the smallest sessions, within these bounds. The oldest is closed for a new one.
const HALF_OPEN: usize = 4;
const MIN_HALF_OPEN: usize = 16;
const MAX_HALF_OPEN: usize = 1024;

/// The fraction of the capacity, as a divisor, that may be reassigned while its sessions are still
/// closing, which takes correct clients a round trip. Beyond that, idle sessions are closed at
/// once, even if calls are in transit to them, and only those of clients with more than their
/// share.
const LEAVING: usize = 2;

/// A session that was never used is not idle before this age, because its client may be about to
/// use it.
const MIN_AGE: Duration = Duration::from_millis(250);

/// How long the calls of a session may continue that has to end for its client's share.
const MAX_LEAVING: Duration = Duration::from_secs(10);

/// The sessions of an instance.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) sessions: HashMap<u64, OpenSession>,
    /// Unconfirmed sessions, in the order in which they were opened.
    half_open: BTreeMap<u64, u64>,
    /// Capacity held by sessions, and by closing ones whose place is reassigned.
    window: usize,
    leaving: usize,
    /// Capacity held by each client's sessions.
    clients: HashMap<ClientId, usize>,
    next: u64,
    began: Instant,
    pub(crate) is_draining: bool,
    /// Whether the NATS server denies packets of single methods' sessions.
    pub(crate) is_denied: bool,
}

/// A session.
#[derive(Debug)]
pub(crate) struct OpenSession {
    /// The subject of its packets.
    pub(crate) subject: Subject,
    pub(crate) mailbox: Arc<Mailbox<ServerCommand>>,
    client: ClientId,
    number: u64,
    opened: Instant,
    usage: Arc<Usage>,
    window: u32,
    stage: SessionStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionStage {
    HalfOpen,
    Confirmed,
    /// Asked to end when its calls have ended. Until then, it keeps its place.
    Leaving(Instant),
    /// The place of the session is reassigned.
    Evicted,
}

/// When a session was last used: written by its task, read when another session needs a place.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Milliseconds since `began`, plus one; [`BUSY`] while calls are open, 0 before the first.
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

    /// Records whether calls are open.
    pub(crate) fn set(&self, is_busy: bool, now: Instant) {
        let value = match is_busy {
            true => BUSY,
            false => millis(self.began, now) + 1,
        };
        self.idle_since.store(value, Ordering::Relaxed);
    }

    /// Returns `None` while it is busy.
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

/// The resources of an admitted session.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) window: u32,
    pub(crate) mailbox: Arc<Mailbox<ServerCommand>>,
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
    /// Makes room for a session and returns its packet window, if all windows together may reach
    /// `most`.
    ///
    /// # Errors
    /// Fails if there is no room, with the reason.
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
        let text = format!(
            "{} sessions are open, which is the limit",
            self.sessions.len()
        );
        // Not started: no session was opened for the call.
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
        let entry = OpenSession {
            subject,
            mailbox: Arc::clone(&mailbox),
            client,
            number,
            opened: now,
            usage: Arc::clone(&usage),
            window,
            stage: SessionStage::HalfOpen,
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

    /// Records that a packet of the client arrived after ACCEPT.
    pub(crate) fn confirm(&mut self, id: u64) {
        if let Some(entry) = self.sessions.get_mut(&id)
            && entry.stage == SessionStage::HalfOpen
        {
            entry.stage = SessionStage::Confirmed;
            self.half_open.remove(&entry.number);
        }
    }

    /// Enlarges a small window, for a session that turns out to be busy. The last quarter is
    /// reserved for new sessions, and the second half, if there are several clients, for those
    /// below their share.
    pub(crate) fn widen(&mut self, id: u64, most: usize) -> Option<u32> {
        let entry = self.sessions.get_mut(&id)?;
        let more = WINDOW.saturating_sub(entry.window);
        if more == 0
            || matches!(
                entry.stage,
                SessionStage::Leaving(_) | SessionStage::Evicted
            )
        {
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

    /// Removes an ended session.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(entry) = self.sessions.remove(&id) else {
            return;
        };
        self.half_open.remove(&entry.number);
        match entry.stage {
            SessionStage::Evicted => self.leaving -= entry.window as usize,
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

    /// Returns the packet window of another session, if all windows together may reach `most`. The
    /// first half of the capacity is assigned in large windows, the rest in small ones, so that
    /// there is room for thousands of mostly idle sessions.
    fn next_window(&self, most: usize) -> Option<u32> {
        let window = if self.window < most / 2 {
            WINDOW
        } else {
            SMALL_WINDOW
        };
        (self.window + window as usize <= most).then_some(window)
    }

    /// Takes the place of a session; returns whether one was taken.
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
                SessionStage::Confirmed => {}
                SessionStage::Leaving(since) if now >= since + MAX_LEAVING => {
                    let id = *id;
                    self.end(id, "the client has more than its share of sessions");
                    return true;
                }
                SessionStage::Leaving(_) | SessionStage::Evicted | SessionStage::HalfOpen => {
                    continue;
                }
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
            // The session accepts no new calls; there is room once the current ones have ended.
            entry.stage = SessionStage::Leaving(now);
            entry.mailbox.drain();
            metrics::session_evicted();
        }
        false
    }

    /// Reassigns the place of an idle session while it closes.
    fn evict_idle(&mut self, id: u64, most: usize, is_over_share: bool) -> bool {
        let Some(entry) = self.sessions.get(&id) else {
            return false;
        };
        if self.leaving + entry.window as usize <= most / LEAVING {
            entry.mailbox.drain();
            metrics::session_evicted();
            self.give_away(id);
        } else if is_over_share {
            self.end(
                id,
                "the session was idle, and another session needs its place",
            );
        } else {
            return false;
        }
        true
    }

    /// Closes a session at once, to make room for others.
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
        if entry.stage == SessionStage::Evicted {
            return;
        }
        entry.stage = SessionStage::Evicted;
        self.half_open.remove(&entry.number);
        let (client, window) = (entry.client, entry.window);
        self.leaving += window as usize;
        self.release(client, window);
    }
}

#[cfg(test)]
mod tests;
