//! [`Health`]: the state of a server, as reported by its health checks.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use serde::Serialize;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::Status;

/// Default interval of health checks.
pub const DEFAULT_HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Default timeout of a health check.
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum length of a check's error, in characters.
const MAX_ERROR: usize = 200;

/// Whether a server or check is serving, in the terms of gRPC's [health checking
/// protocol](https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Serving {
    /// Serving.
    Serving,
    /// Temporarily not serving.
    NotServing,
}

impl Serving {
    /// Returns the name in the protocol: `SERVING` or `NOT_SERVING`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
        }
    }
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The health of a server and the results of its checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// `Serving` if all checks last succeeded and the server is not about to stop.
    pub status: Serving,
    /// The checks, in the order in which they were added. Conditions that the server detects
    /// itself, such as a lost connection, are included while they hold.
    pub checks: Vec<Check>,
}

/// The last result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// The name with which it was registered.
    pub name: String,
    /// The result.
    pub status: Serving,
    /// The error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

type Asked = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The checks of a server and their results.
pub struct Checks {
    all: Vec<(String, Asked)>,
    pub interval: Duration,
    pub timeout: Duration,
    /// For each check in `all`, its last error.
    failures: Mutex<Vec<Option<String>>>,
    /// A summary, so that calls need not read all checks.
    is_healthy: AtomicBool,
    /// The summary for tasks that wait for a change.
    is_ready: watch::Sender<bool>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            interval: DEFAULT_HEALTH_INTERVAL,
            timeout: DEFAULT_HEALTH_TIMEOUT,
            failures: Mutex::default(),
            is_healthy: AtomicBool::new(true),
            is_ready: watch::Sender::new(true),
        }
    }
}

/// Shortens an error, which is included once per endpoint in every STATS answer.
fn short(error: &impl fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR) {
        text.truncate(end);
    }
    text
}

impl Checks {
    pub fn add<F, Fut, E>(&mut self, name: String, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let check = move || {
            let outcome = check();
            async move { outcome.await.map_err(|error| short(&error)) }.boxed()
        };
        self.all.push((name, Box::new(check)));
    }

    /// Runs all checks concurrently.
    pub async fn make(&self) {
        let outcomes = self.all.iter().map(|(_, check)| async {
            // A check may also panic when it is called.
            let check = AssertUnwindSafe(async { check().await }).catch_unwind();
            match tokio::time::timeout(self.timeout, check).await {
                Ok(Ok(outcome)) => outcome.err(),
                Ok(Err(_)) => Some("the check panicked".to_owned()),
                Err(_) => Some(format!("no result within {:?}", self.timeout)),
            }
        });
        let outcomes = join_all(outcomes).await;
        let before = std::mem::replace(&mut *self.failures(), outcomes.clone());
        for (i, ((name, _), outcome)) in self.all.iter().zip(&outcomes).enumerate() {
            let before = before.get(i).and_then(Option::as_ref);
            match (before, outcome) {
                (None, Some(error)) => tracing::warn!(check = name, error, "not healthy"),
                (Some(_), None) => tracing::info!(check = name, "healthy again"),
                _ => {}
            }
        }
        let is_healthy = outcomes.iter().all(Option::is_none);
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
        self.is_ready
            .send_if_modified(|is_ready| std::mem::replace(is_ready, is_healthy) != is_healthy);
    }

    /// Wakes all tasks that wait for [`is_ready`](Self::is_ready), because another condition has
    /// changed.
    pub fn wake(&self) {
        self.is_ready.send_modify(|_| {});
    }

    pub fn is_ready(&self) -> watch::Receiver<bool> {
        self.is_ready.subscribe()
    }

    /// Runs all checks periodically until aborted. The first round was already made.
    pub async fn repeat(&self) {
        if self.all.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(self.interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.make().await;
        }
    }

    /// Returns the error for calls that must not start now.
    pub fn refusal(&self) -> Option<Status> {
        if self.is_healthy.load(Ordering::Relaxed) {
            return None;
        }
        let failures = self.failures();
        let failed = self.all.iter().zip(&*failures);
        let mut failed = failed.filter_map(|((name, _), failure)| failure.as_ref().map(|_| name));
        // Details are for the operator: callers get only the name.
        let name = failed.next().map_or("health", String::as_str);
        let text = format!("this instance is not ready: its health check {name:?} fails");
        // Not started: health is checked before the handler is called.
        Some(Status::unavailable(text).not_started())
    }

    /// Returns the results of the checks, and conditions that the server detects itself.
    pub(crate) fn health(&self, unwilling: Option<&str>, loss: Option<&str>) -> Health {
        let failures = self.failures();
        let failure = |i: usize| failures.get(i).cloned().flatten();
        let own = self.all.iter().enumerate();
        let own = own.map(|(i, (name, _))| (name.clone(), failure(i)));
        let lost = loss.map(|why| ("nats".to_owned(), Some(why.to_owned())));
        let unwilling = unwilling.map(|why| ("server".to_owned(), Some(why.to_owned())));
        let checks: Vec<_> = own
            .chain(lost)
            .chain(unwilling)
            .map(|(name, error)| Check {
                name,
                status: match error {
                    None => Serving::Serving,
                    Some(_) => Serving::NotServing,
                },
                error,
            })
            .collect();
        let is_serving = |check: &Check| check.status == Serving::Serving;
        Health {
            status: match checks.iter().all(is_serving) {
                true => Serving::Serving,
                false => Serving::NotServing,
            },
            checks,
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<Option<String>>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn failing(error: &Arc<Mutex<Option<&'static str>>>) -> Checks {
        let mut checks = Checks::default();
        let error = Arc::clone(error);
        checks.add("good".to_owned(), || async { Ok::<_, String>(()) });
        checks.add("database".to_owned(), move || {
            let error = *error.lock().unwrap();
            async move { error.map_or(Ok(()), Err) }
        });
        checks
    }

    #[tokio::test]
    async fn one_that_fails_is_enough() {
        let error = Arc::new(Mutex::new(None));
        let checks = failing(&error);
        checks.make().await;
        assert!(checks.refusal().is_none());
        assert_eq!(checks.health(None, None).status, Serving::Serving);
        *error.lock().unwrap() = Some("no route");
        checks.make().await;
        let refusal = checks.refusal().unwrap();
        assert!(refusal.is_not_started());
        assert!(refusal.message().contains("database") && !refusal.message().contains("no route"));
        let health = checks.health(None, None);
        assert_eq!(health.status, Serving::NotServing);
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(
            text,
            r#"{"status":"NOT_SERVING","checks":[{"name":"good","status":"SERVING"},{"name":"database","status":"NOT_SERVING","error":"no route"}]}"#
        );
        *error.lock().unwrap() = None;
        checks.make().await;
        assert!(checks.refusal().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn checks_that_hang_or_panic_fail() {
        let mut checks = Checks::default();
        checks.add(
            "hangs".to_owned(),
            std::future::pending::<Result<(), String>>,
        );
        checks.add("panics".to_owned(), || async {
            panic!("as requested") as Result<(), String>
        });
        checks.make().await;
        let health = checks.health(None, None);
        let errors: Vec<_> = health
            .checks
            .iter()
            .filter_map(|c| c.error.as_deref())
            .collect();
        assert_eq!(errors, ["no result within 2s", "the check panicked"]);
    }

    #[test]
    fn what_the_server_knows_by_itself_counts() {
        let checks = Checks::default();
        assert_eq!(
            checks.health(Some("stopping"), None).status,
            Serving::NotServing
        );
        assert_eq!(checks.health(None, Some("lost")).checks[0].name, "nats");
    }
}
