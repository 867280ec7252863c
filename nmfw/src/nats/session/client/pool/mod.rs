//! [`Pool`]: the sessions with instances of a service.
//!
//! NATS delivers an OPEN to any instance. A further session is with another instance only by
//! chance, and is closed again if it is not; attempts are repeated, because instances come and go.
//! With regions, the instance is a nearby one if there is any, and sessions with distant ones are
//! soon closed after it appears.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::Instant};

use super::{Handle, Opening, Scope, calls::ClientCalls};
use crate::{Connection, Method, Status, nats::session::driver};

/// The initial delay after an unsuccessful attempt to open a session, which doubles up to
/// [`MAX_BACKOFF`] and is randomised. Meanwhile, calls use base mode or existing sessions.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The maximum delay while there are sessions and attempts look for another instance. The outcome
/// is random, so a dozen attempts in a minute find one of two instances almost certainly.
const MAX_SEARCH_BACKOFF: Duration = Duration::from_secs(8);

/// Number of sessions of a pool with little load, in case an instance stops or is slow.
const USUAL_SESSIONS: usize = 2;

/// Maximum number of sessions of a pool, unless they have no room for calls.
const MAX_SESSIONS: usize = 8;

/// When each session has this many calls, another one is opened.
const LOADED_CALLS: usize = 64;

/// Maximum age at which a session is replaced. Ages are randomised, so that a new instance gets its
/// share of work within this time, and sessions are not all replaced at once.
const MAX_AGE: Duration = Duration::from_secs(60);

/// An old session is closed when this many consecutive OPENs per session went to other instances.
/// By chance, this happens to one of two instances once in 256 times; it always happens to an
/// instance in another region or behind a leaf node once a nearer one is back.
const FAR_OPENS: usize = 4;

/// How long a call that requires a session waits, after a reconnect of the client, until the
/// service of an existing one responds. That takes a round trip; afterwards, another session is
/// opened.
const MAX_UNHEARD: Duration = Duration::from_millis(250);

/// Number of sequential attempts to open a session with another instance when a call requires one.
const MAX_TRIES: usize = 8;

#[derive(Debug)]
pub(crate) struct Pool {
    scope: Scope,
    connection: Connection,
    state: watch::Sender<PoolState>,
    /// The open sessions of the state, for lock-free access by calls on any thread.
    open: ArcSwap<Vec<Arc<Handle>>>,
    /// Whether an attempt is due, as of the last tick: calls do not read the clock.
    may_try: AtomicBool,
    is_any_old: AtomicBool,
}

#[derive(Debug, Default)]
struct PoolState {
    open: Vec<Member>,
    opening: Option<Arc<Handle>>,
    /// When to retry after an unsuccessful attempt.
    retry: Option<Instant>,
    failures: u32,
    /// The error of the last attempt.
    failure: Option<Status>,
}

#[derive(Debug)]
struct Member {
    handle: Arc<Handle>,
    /// When the session is to be replaced.
    until: Instant,
    /// Number of sessions opened with other instances since one was opened with this one.
    passed_over: usize,
}

impl Member {
    fn new(handle: Arc<Handle>) -> Self {
        let age = MAX_AGE.mul_f64(rand::random_range(0.5..1.0));
        let until = Instant::now() + age;
        Self {
            handle,
            until,
            passed_over: 0,
        }
    }
}

/// The decision about a call.
struct Choice {
    handle: Option<Arc<Handle>>,
    /// Whether another session should be opened.
    wants_more: bool,
}

impl Pool {
    pub(crate) fn new(scope: Scope, connection: Connection) -> Self {
        Self {
            scope,
            connection,
            state: watch::Sender::default(),
            open: ArcSwap::default(),
            may_try: AtomicBool::new(true),
            is_any_old: AtomicBool::new(false),
        }
    }

    /// Called by session tasks; refreshes cached flags so that calls need not read the clock.
    pub(crate) fn tick(&self, now: std::time::Instant) {
        let now = Instant::from_std(now);
        let state = self.state.borrow();
        let may_try = state.may_try(now);
        let is_any_old = state.open.iter().any(|member| member.until <= now);
        self.may_try.store(may_try, Ordering::Relaxed);
        self.is_any_old.store(is_any_old, Ordering::Relaxed);
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns a session for a call, if there is one; opens another in the background if that is
    /// useful.
    pub(crate) fn pick(
        self: &Arc<Self>,
        method: Method,
        avoid: Option<&Arc<Handle>>,
    ) -> Option<Arc<Handle>> {
        let choice = self.choose(method, avoid);
        let wants = match choice.handle {
            // Another session would be with the same instance.
            Some(_) if self.scope.instance.is_some() => false,
            // Without a session, the cached flags are not refreshed.
            None => choice.wants_more,
            Some(_) => {
                let is_any_old = self.is_any_old.load(Ordering::Relaxed);
                (choice.wants_more || is_any_old) && self.may_try.load(Ordering::Relaxed)
            }
        };
        if wants {
            self.open(false);
        }
        choice.handle
    }

    /// Returns an open session for a call, without opening another.
    pub(crate) fn pick_open(
        &self,
        method: Method,
        avoid: Option<&Arc<Handle>>,
    ) -> Option<Arc<Handle>> {
        self.choose(method, avoid).handle
    }

    /// Returns the session of a call without an alternative: its service is disconnected from NATS,
    /// but may come back.
    pub(crate) fn last_resort(&self, method: Method) -> Option<Arc<Handle>> {
        choose(&self.open.load(), method, None, None).handle
    }

    fn choose(&self, method: Method, avoid: Option<&Arc<Handle>>) -> Choice {
        let epoch = self.connection.epoch();
        choose(&self.open.load(), method, avoid, Some(epoch))
    }

    /// Wakes calls that wait for a response of a service after a reconnect.
    pub(crate) fn heard(&self) {
        self.change(|state| !state.open.is_empty());
    }

    /// Waits briefly for a session whose service has not responded since the reconnect.
    async fn heard_soon(&self, method: Method, avoid: Option<&Arc<Handle>>) {
        let is_settled = |state: &PoolState| {
            let epoch = self.connection.epoch();
            let mut open = state.open.iter();
            self.choose(method, avoid).handle.is_some()
                || !open.any(|m| m.handle.serves(method) && m.handle.is_unheard(epoch))
        };
        let mut state = self.state.subscribe();
        let settled = state.wait_for(is_settled);
        _ = tokio::time::timeout(MAX_UNHEARD, settled).await;
    }

    /// All changes pass this function, to keep the copy for calls up to date.
    fn change(&self, change: impl FnOnce(&mut PoolState) -> bool) -> bool {
        self.state.send_if_modified(|state| {
            let is_changed = change(state);
            if is_changed {
                let open = state.open.iter().map(|member| Arc::clone(&member.handle));
                self.open.store(Arc::new(open.collect()));
            }
            is_changed
        })
    }

    /// Returns a session for a call that requires one.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        method: Method,
        avoid: Option<&Arc<Handle>>,
    ) -> Result<Arc<Handle>, Status> {
        let not_served = || {
            let base = &self.scope.base;
            let text = format!("the service at {base} does not serve {method} in sessions");
            Status::unimplemented(text)
        };
        {
            let state = self.state.borrow();
            if !state.open.is_empty() && !state.open.iter().any(|m| m.handle.serves(method)) {
                // Not started: no session was found for the call.
                return Err(not_served().not_started());
            }
        }
        self.heard_soon(method, avoid).await;
        if let Some(handle) = self.choose(method, avoid).handle {
            return Ok(handle);
        }
        // An instance that has refused the call is not tried again if another one can be found.
        let tries = if avoid.is_some() { MAX_TRIES } else { 1 };
        for _ in 0..tries {
            self.open(true);
            let mut state = self.state.subscribe();
            let ready = state.wait_for(|state| {
                state.opening.is_none() || self.choose(method, avoid).handle.is_some()
            });
            let Ok(state) = ready.await else {
                // Not started: no session was found for the call.
                return Err(Status::unavailable("the channel was dropped").not_started());
            };
            if let Some(handle) = self.choose(method, avoid).handle {
                return Ok(handle);
            }
            if state.failure.is_some() {
                break;
            }
        }
        let state = self.state.borrow();
        if let Some(handle) = self.last_resort(method) {
            return Ok(handle);
        }
        let failure = state.failure.clone();
        let open = self.scope.open();
        let status = failure.unwrap_or_else(|| {
            if state.open.is_empty() {
                // The session was opened and closed at the same time.
                Status::unavailable("the session was closed at once")
            } else if state.open.iter().any(|m| m.handle.serves(method)) {
                Status::resource_exhausted(
                    "all sessions have reached their maximum number of \
                                            calls",
                )
            } else {
                not_served()
            }
        });
        let text = format!("cannot call {method}: {open}: {}", status.message());
        // Not started: no session was found for the call.
        Err(Status::new(status.code(), text).not_started())
    }

    /// Opens a session in the background, unless one is being opened, or unless a retry is not due
    /// and the need is not urgent.
    fn open(self: &Arc<Self>, is_urgent: bool) {
        let may = |state: &PoolState| {
            state.opening.is_none() && (is_urgent || state.may_try(Instant::now()))
        };
        // The write lock is taken only if necessary.
        if !may(&self.state.borrow()) {
            self.may_try.store(false, Ordering::Relaxed);
            return;
        }
        let Some(config) = driver::config(&self.connection) else {
            return self.unavailable();
        };
        let handle = Arc::new(Handle::new(config.packet_window));
        let is_ours = self.change(|state| {
            let may = may(state);
            if may {
                state.opening = Some(Arc::clone(&handle));
                state.failure = None;
            }
            may
        });
        if is_ours {
            let mailbox = Arc::clone(&handle.mailbox);
            let calls = ClientCalls::new(Arc::downgrade(self), Arc::downgrade(&handle));
            // The session ends when the pool drops its handle.
            drop(handle);
            let opening = Opening {
                pool: Arc::downgrade(self),
                connection: self.connection.clone(),
                scope: self.scope.clone(),
                mailbox,
                calls,
            };
            self.connection.spawn(opening.run(config));
        }
    }

    fn unavailable(&self) {
        let max = self.connection.max_payload();
        let text = format!("the NATS server's max_payload of {max} is too small for sessions");
        self.change(|state| {
            state.failure = Some(Status::failed_precondition(text));
            true
        });
    }

    /// Records a completed handshake.
    pub(crate) fn opened(&self, handle: &Arc<Handle>) {
        // Dropped outside of the lock, because that wakes the session.
        let mut left = Vec::new();
        let epoch = self.connection.epoch();
        self.change(|state| {
            let ours = state.opening.as_ref();
            let Some(handle) = ours.filter(|ours| Arc::ptr_eq(ours, handle)).cloned() else {
                return false;
            };
            state.opening = None;
            left = state.admit(handle, epoch);
            true
        });
        self.may_try.store(true, Ordering::Relaxed);
    }

    /// Removes a session that accepts no more calls. If it was never useful, the next attempt is
    /// delayed.
    pub(crate) fn left(&self, handle: &Weak<Handle>, was_useful: bool, failure: Option<Status>) {
        let is = |other: &Arc<Handle>| Weak::as_ptr(handle) == Arc::as_ptr(other);
        // Dropped outside of the lock, because that wakes the session.
        let mut left = None;
        self.change(|state| {
            if let Some(index) = state.open.iter().position(|member| is(&member.handle)) {
                left = Some(state.open.swap_remove(index).handle);
            } else if state.opening.as_ref().is_some_and(is) {
                left = state.opening.take();
                state.failure = failure;
            } else {
                return false;
            }
            if was_useful {
                state.search_succeeded();
            } else {
                state.search_failed(MAX_BACKOFF);
            }
            true
        });
        self.may_try.store(true, Ordering::Relaxed);
    }
}

impl PoolState {
    /// Returns whether a retry is due.
    fn may_try(&self, now: Instant) -> bool {
        self.opening.is_none() && self.retry.is_none_or(|at| at <= now)
    }

    /// Adds an opened session. Returns sessions that are not needed: this one if its instance
    /// already has a session, or the one that it replaces, or a distant one. A session with the
    /// same instance that no longer responds is replaced by the new one.
    fn admit(&mut self, handle: Arc<Handle>, epoch: u64) -> Vec<Arc<Handle>> {
        let now = Instant::now();
        let mut same = None;
        for (index, member) in self.open.iter_mut().enumerate() {
            if member.handle.is_with_instance_of(&handle) {
                member.passed_over = 0;
                same.get_or_insert(index);
            } else {
                member.passed_over += 1;
            }
        }
        if let Some(index) = same
            && self.open[index].handle.is_absent(epoch)
        {
            self.search_succeeded();
            let absent = std::mem::replace(&mut self.open[index], Member::new(handle));
            return vec![absent.handle];
        }
        if let Some(index) = same
            && self.open[index].handle.has_room()
        {
            let same = &mut self.open[index];
            if same.until <= now {
                *same = Member::new(Arc::clone(&same.handle));
            }
            self.search_failed(MAX_SEARCH_BACKOFF);
            let left = [Some(handle), self.remove_far(now)];
            return left.into_iter().flatten().collect();
        }
        self.search_succeeded();
        let old = self.open.iter().position(|member| member.until <= now);
        self.open.push(Member::new(handle));
        let Some(old) = old else {
            return Vec::new();
        };
        if self.open.len() <= USUAL_SESSIONS {
            // The old session stays.
            self.open[old] = Member::new(Arc::clone(&self.open[old].handle));
            return Vec::new();
        }
        vec![self.open.swap_remove(old).handle]
    }

    /// Removes an old session that NATS would no longer open.
    fn remove_far(&mut self, now: Instant) -> Option<Arc<Handle>> {
        let enough = FAR_OPENS * self.open.len();
        let is_far = |member: &Member| member.until <= now && member.passed_over >= enough;
        let far = self.open.iter().position(is_far)?;
        Some(self.open.swap_remove(far).handle)
    }

    fn search_succeeded(&mut self) {
        self.failures = 0;
        self.retry = None;
    }

    fn search_failed(&mut self, max: Duration) {
        let max_backoff = INITIAL_BACKOFF * 2_u32.saturating_pow(self.failures.min(16));
        let backoff = max_backoff.min(max).mul_f64(rand::random_range(0.5..1.0));
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(Instant::now() + backoff);
    }
}

/// Chooses the less loaded of two random sessions in this epoch of the connection. A session whose
/// service is [absent](Handle::is_absent) is chosen only as a last resort, without an epoch.
fn choose(
    open: &[Arc<Handle>],
    method: Method,
    avoid: Option<&Arc<Handle>>,
    epoch: Option<u64>,
) -> Choice {
    let avoided = |handle: &Arc<Handle>| {
        avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, handle) || avoid.is_with_instance_of(handle))
    };
    let could = |handle: &Arc<Handle>| {
        let is_there = epoch.is_none_or(|epoch| !handle.is_absent(epoch));
        is_there && handle.serves(method) && handle.has_room() && !avoided(handle)
    };
    // A service that may be gone is better than none.
    let sure = |handle: &Arc<Handle>| could(handle) && !handle.is_suspect();
    // The usual case, without a choice.
    if let [only] = open
        && sure(only)
    {
        return Choice {
            handle: Some(Arc::clone(only)),
            wants_more: true,
        };
    }
    let is_any_sure = open.iter().any(sure);
    let fits = |handle: &&Arc<Handle>| match is_any_sure {
        true => sure(handle),
        false => could(handle),
    };
    let count = open.iter().filter(fits).count();
    let nth = |n| open.iter().filter(fits).nth(n);
    let chosen = match count {
        0 => None,
        1 => nth(0),
        _ => {
            let first = rand::random_range(0..count);
            let second = (first + rand::random_range(1..count)) % count;
            [nth(first), nth(second)]
                .into_iter()
                .flatten()
                .min_by_key(|handle| handle.load())
        }
    };
    let Some(chosen) = chosen else {
        // If one session does not serve the method, another will not either.
        let wants_more = open.is_empty() || open.iter().any(|handle| handle.serves(method));
        return Choice {
            handle: None,
            wants_more,
        };
    };
    let is_loaded = chosen.load() >= LOADED_CALLS;
    let wants_more =
        open.len() < USUAL_SESSIONS || !is_any_sure || (is_loaded && open.len() < MAX_SESSIONS);
    Choice {
        handle: Some(Arc::clone(chosen)),
        wants_more,
    }
}
