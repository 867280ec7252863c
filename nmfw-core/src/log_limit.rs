//! [`LogLimit`] and `log_limited`: rate limits for log lines that peers can trigger.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The period of the limits.
const EVERY: Duration = Duration::from_secs(60);

/// Maximum number of lines per period where each line may be different.
pub const BURST: u32 = 50;

/// Passes a limited number of lines per period, and counts the suppressed ones.
#[derive(Debug)]
pub struct LogLimit {
    burst: u32,
    state: Mutex<LogState>,
}

#[derive(Debug)]
struct LogState {
    next: Option<Instant>,
    /// Number of lines that may still pass in this period.
    rest: u32,
    left_out: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl LogLimit {
    /// Creates a limit of one line per period.
    pub const fn new() -> Self {
        Self::with_burst(1)
    }

    /// Creates a limit of `burst` lines per period.
    pub const fn with_burst(burst: u32) -> Self {
        Self {
            burst,
            state: Mutex::new(LogState {
                next: None,
                rest: burst,
                left_out: 0,
            }),
        }
    }

    /// Returns the number of lines suppressed since the last one, if a line may be written now.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next.is_none_or(|next| now >= next) {
            state.next = Some(now + EVERY);
            state.rest = self.burst;
        }
        match state.rest.checked_sub(1) {
            Some(rest) => {
                state.rest = rest;
                Some(std::mem::take(&mut state.left_out))
            }
            None => {
                state.left_out += 1;
                None
            }
        }
    }
}

/// Logs an event that a peer can trigger, at most [`BURST`] times a minute for each place in the
/// code. The field `left_out` is the number of suppressed lines before this one.
#[doc(hidden)]
#[macro_export]
macro_rules! log_limited {
    (target: $target:expr, $level:ident, $($event:tt)+) => {{
        static LIMIT: $crate::log_limit::LogLimit =
            $crate::log_limit::LogLimit::with_burst($crate::log_limit::BURST);
        if tracing::enabled!(target: $target, $crate::log_limited!(@ $level))
            && let Some(left_out) = LIMIT.pass()
        {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::$level!(target: $target, left_out, $($event)+);
        }
    }};
    (@ error) => { tracing::Level::ERROR };
    (@ warn) => { tracing::Level::WARN };
    (@ info) => { tracing::Level::INFO };
    (@ debug) => { tracing::Level::DEBUG };
    ($level:ident, $($event:tt)+) => {
        $crate::log_limited!(target: module_path!(), $level, $($event)+)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let limit = LogLimit::new();
        let now = Instant::now();
        assert_eq!(limit.pass_at(now), Some(0));
        assert_eq!(limit.pass_at(now + EVERY / 2), None);
        assert_eq!(limit.pass_at(now + EVERY / 2), None);
        assert_eq!(limit.pass_at(now + EVERY), Some(2));
        assert_eq!(limit.pass_at(now + EVERY), None);
    }

    #[test]
    fn several_lines_a_minute() {
        let limit = LogLimit::with_burst(3);
        let now = Instant::now();
        let passed = (0..10).filter(|_| limit.pass_at(now).is_some());
        assert_eq!(passed.count(), 3);
        let later = now + EVERY;
        let passed: Vec<_> = (0..10).map(|_| limit.pass_at(later)).collect();
        assert_eq!(passed[..4], [Some(7), Some(0), Some(0), None]);
    }

    #[test]
    fn places_have_limits_of_their_own() {
        #[derive(Clone, Default)]
        struct LogOutput(std::sync::Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for LogOutput {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = LogOutput::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(tracing::Level::WARN)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..2 * BURST {
                log_limited!(warn, n, "one");
                log_limited!(target: "elsewhere", error, n, "another");
                log_limited!(
                    debug,
                    n,
                    "the level is disabled, so the line is not counted"
                );
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(text.lines().count(), 2 * BURST as usize, "{text}");
        assert_eq!(count("nmfw_core::log_limit"), BURST as usize);
        assert_eq!(count("elsewhere"), BURST as usize);
        assert!(!text.contains("left_out"), "no line was suppressed before");
    }
}
