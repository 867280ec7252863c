//! Waits for conditions, never for fixed times.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// The types that a check of a condition may return: `bool`, `Option<T>` or `Result<T, E>`.
pub trait Look {
    /// The return type of [`eventually`] once the condition holds.
    type Value;

    /// Returns the value, or the reason why the condition does not hold yet.
    ///
    /// # Errors
    ///
    /// Returns the reason, which is shown when time runs out.
    fn look(self) -> Result<Self::Value, String>;
}

impl Look for bool {
    type Value = ();

    fn look(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("the condition was false".to_owned())
        }
    }
}

impl<T> Look for Option<T> {
    type Value = T;

    fn look(self) -> Result<T, String> {
        self.ok_or_else(|| "the value was None".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Value = T;

    fn look(self) -> Result<T, String> {
        self.map_err(|e| e.to_string())
    }
}

/// Checks the condition repeatedly until it holds, and returns its value.
///
/// A check that hangs is also abandoned at the limit.
///
/// # Panics
///
/// Panics after `limit`, with the caller's location and the reason from the last check.
#[track_caller]
pub fn eventually<F, Fut>(
    limit: Duration,
    mut condition: F,
) -> impl Future<Output = <Fut::Output as Look>::Value>
where
    F: FnMut() -> Fut,
    Fut: Future<Output: Look>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_millis(2);
        let mut last = "no check completed".to_owned();
        let mut looks = 0_u32;
        loop {
            match timeout_at(end, condition()).await.map(Look::look) {
                Ok(Ok(value)) => return value,
                Ok(Err(reason)) => {
                    looks += 1;
                    last = reason;
                }
                Err(_) => last = format!("a check was still running; before that, {last}"),
            }
            if Instant::now() + pause >= end {
                panic!(
                    "the condition at {caller} did not hold within {limit:?} ({looks} checks): \
                     {last}"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::eventually;
    use std::time::Duration;

    #[tokio::test]
    async fn returns_the_value_of_the_first_check_that_holds() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), || {
            looks += 1;
            let now = looks;
            async move { if now < 3 { Err("too early") } else { Ok(now) } }
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "wait.rs")]
    async fn a_timeout_reports_the_location() {
        eventually(Duration::from_millis(20), || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "still running")]
    async fn a_check_that_hangs_is_abandoned() {
        eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
