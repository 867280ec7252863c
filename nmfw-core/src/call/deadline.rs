//! Deadlines: relative and absolute on the wire, [`Instant`] inside.

use std::{
    pin::{Pin, pin},
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::{Method, Status, log_limit::LogLimit};

/// Timeouts are capped at this value, to avoid overflows in timers and clocks.
const MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Tolerated difference between the clocks of caller and service, for calls that carry only an
/// absolute deadline.
const SKEW: Duration = Duration::from_secs(5);

/// Rate limit for warnings about requests that are refused because of their absolute deadline.
static REFUSED: LogLimit = LogLimit::new();

/// The deadline of a call, if any.
///
/// Clocks of different machines differ, so requests carry the remaining time. They also carry the
/// absolute time for services of Go nmfw, which read only that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NONE: Self = Self(None);

    /// Creates a deadline `timeout` from now, at most 30 days.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self::after_from(Instant::now(), timeout)
    }

    /// Creates a deadline `timeout` after `start`, at most 30 days.
    pub(crate) fn after_from(start: Instant, timeout: Duration) -> Self {
        Self(Some(start + timeout.min(MAX)))
    }

    /// Creates a deadline at a point in time.
    #[must_use]
    pub fn at(instant: std::time::Instant) -> Self {
        Self(Some(instant.into()))
    }

    /// Returns the point in time, if there is a deadline. While a test has paused tokio's time, it
    /// is a point of that time.
    #[must_use]
    pub fn instant(self) -> Option<std::time::Instant> {
        self.0.map(Instant::into_std)
    }

    /// Returns the point in time for timers and for comparisons with tokio's time.
    #[doc(hidden)]
    #[must_use]
    pub fn timer_instant(self) -> Option<Instant> {
        self.0
    }

    /// Returns the time left: zero if the deadline has passed, `None` if there is none.
    #[must_use]
    pub fn time_left(self) -> Option<Duration> {
        self.0
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns whether the deadline has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// Returns the earlier of two deadlines.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// Waits until the deadline has passed; forever if there is none.
    pub async fn passed(self) {
        match self.0 {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a future until the deadline passes; returns `None` then. A timer is created only
    /// if the future is pending.
    ///
    /// Takes a pinned future, because an async fn stores an argument twice in its state machine.
    #[doc(hidden)]
    pub async fn limit<F: Future + Unpin>(self, future: F) -> Option<F::Output> {
        first(future, self.passed()).await
    }

    /// Like [`limit`](Self::limit), but boxed, for waits of few calls, so that other calls need no
    /// space for it.
    #[doc(hidden)]
    pub fn limit_boxed<F: Future>(
        self,
        future: F,
    ) -> Pin<Box<impl Future<Output = Option<F::Output>>>> {
        Box::pin(async move { self.limit(pin!(future)).await })
    }

    /// Returns the time that a request gives its handler.
    ///
    /// `relative` is the time left when the caller sent the request. If present, only it counts,
    /// because the clocks of caller and service may differ by any amount. `absolute`, the text of
    /// `Nmfw-Deadline`, is for callers that send nothing else, and `fallback`, the method's own
    /// timeout, for callers that send neither.
    #[doc(hidden)]
    pub fn from_wire(
        relative: Option<Duration>,
        absolute: Option<&str>,
        fallback: Duration,
        method: Method,
    ) -> Result<Self, Status> {
        let allowance = match (relative, absolute) {
            (Some(left), _) if left.is_zero() => {
                let text = "the request arrived without any time left";
                return Err(Status::deadline_exceeded(text));
            }
            (Some(left), _) => left,
            (None, Some(text)) => {
                let now = OffsetDateTime::from(SystemTime::now());
                until(text, now).map_err(|refused| refused.status(method))?
            }
            (None, None) => fallback,
        };
        Ok(Self::after(allowance))
    }
}

/// Waits for a future for at most `limit`; returns `None` on a timeout. Unlike tokio's `timeout`,
/// it reads the clock and creates a timer only if the future is pending.
pub async fn within<F: Future + Unpin>(limit: Duration, future: F) -> Option<F::Output> {
    first(future, async { tokio::time::sleep(limit).await }).await
}

async fn first<F: Future + Unpin>(future: F, limit: impl Future<Output = ()>) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = limit => None,
    }
}

/// The reason why an absolute deadline leaves no time.
#[derive(Debug)]
enum Refused {
    Malformed(String),
    /// The deadline passed this long ago.
    Passed(time::Duration),
}

impl Refused {
    fn status(self, method: Method) -> Status {
        match self {
            Self::Malformed(text) => Status::invalid_argument(format!(
                "the header Nmfw-Deadline is not an RFC 3339 time: {text:?}"
            )),
            Self::Passed(ago) => {
                let text = format!(
                    "the deadline passed {:.1} s before the request arrived: the request waited in \
                     a buffer, or the clocks of caller and service differ",
                    ago.as_seconds_f64()
                );
                if let Some(left_out) = REFUSED.pass() {
                    tracing::warn!(
                        %method,
                        left_out,
                        "request refused: {text}. Callers that send a relative time, as those of \
                         this framework do, do not depend on clocks"
                    );
                }
                Status::deadline_exceeded(text)
            }
        }
    }
}

/// Returns the time until an absolute deadline. Pure, to be testable at any time of day.
fn until(text: &str, now: OffsetDateTime) -> Result<Duration, Refused> {
    let Ok(mut at) = OffsetDateTime::parse(text.trim(), &Rfc3339) else {
        return Err(Refused::Malformed(text.chars().take(64).collect()));
    };
    // Go nmfw truncates its deadlines to whole seconds, which shows in the missing fraction.
    // Without adding a second, a call with 500 ms would usually arrive expired.
    if !text.contains('.') {
        at = at.saturating_add(time::Duration::SECOND);
    }
    let left = at - now;
    if left + SKEW < time::Duration::ZERO {
        return Err(Refused::Passed(-left));
    }
    // Passed within the tolerance for clocks: the rest of the tolerance remains.
    Ok(if left <= time::Duration::ZERO {
        positive(left + SKEW)
    } else {
        positive(left)
    })
}

fn positive(duration: time::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::ZERO)
}

/// Formats the absolute time of a deadline for the wire.
pub fn rfc3339_in(left: Duration) -> String {
    format_rfc3339(OffsetDateTime::from(SystemTime::now()) + left.min(MAX))
}

/// Formats RFC 3339 in UTC with milliseconds, also used for ADR-32's `started`.
pub fn format_rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    // Formatted by hand, because each request of base mode has one, and `format!` and `time` are
    // too slow.
    let year = u16::try_from(at.year()).unwrap_or(0).min(9999);
    let mut out = String::with_capacity("2026-03-01T12:00:00.400Z".len());
    push_two(&mut out, year / 100);
    push_two(&mut out, year % 100);
    for (before, two) in [
        ('-', u8::from(at.month())),
        ('-', at.day()),
        ('T', at.hour()),
        (':', at.minute()),
        (':', at.second()),
    ] {
        out.push(before);
        push_two(&mut out, u16::from(two));
    }
    let millis = at.millisecond();
    out.push('.');
    push_digit(&mut out, millis / 100);
    push_two(&mut out, millis % 100);
    out.push('Z');
    out
}

/// Appends a number below 100.
fn push_two(out: &mut String, number: u16) {
    push_digit(out, number / 10);
    push_digit(out, number % 10);
}

/// Appends a number below 10.
fn push_digit(out: &mut String, digit: u16) {
    // The value is below 10, so the cast is exact.
    out.push(char::from(b'0' + digit as u8));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Code, call::method::tests::SPEC};

    const FALLBACK: Duration = Duration::from_secs(7);

    fn now() -> OffsetDateTime {
        OffsetDateTime::parse("2026-03-01T12:00:00.400Z", &Rfc3339).unwrap()
    }

    fn until_deadline(text: &str) -> Result<Duration, Code> {
        until(text, now()).map_err(|refused| refused.status(SPEC.method(0)).code())
    }

    /// Returns the time that a request gives, in whole milliseconds, rounded up.
    fn allow(relative: Option<u64>, absolute: Option<&str>) -> Result<u128, Code> {
        let relative = relative.map(Duration::from_millis);
        let deadline = Deadline::from_wire(relative, absolute, FALLBACK, SPEC.method(0));
        let left = deadline.map_err(|status| status.code())?.time_left();
        Ok(left.unwrap().as_nanos().div_ceil(1_000_000))
    }

    const fn ms(millis: u64) -> Result<Duration, Code> {
        Ok(Duration::from_millis(millis))
    }

    #[tokio::test(start_paused = true)]
    async fn no_header_is_the_methods_timeout() {
        assert_eq!(allow(None, None), Ok(FALLBACK.as_millis()));
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_a_relative_time_it_alone_counts() {
        for absolute in [
            "2026-03-01T12:00:00.700Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "nonsense",
            "",
        ] {
            for left in [1, 300, 5_000, 86_400_000] {
                assert_eq!(allow(Some(left), Some(absolute)), Ok(left.into()));
            }
            assert_eq!(allow(Some(0), Some(absolute)), Err(Code::DeadlineExceeded));
        }
        assert_eq!(allow(Some(0), None), Err(Code::DeadlineExceeded));
    }

    #[test]
    fn go_deadlines_are_cut_to_the_second() {
        // 500 ms from 12:00:00.400, truncated by the caller to 12:00:00.
        assert_eq!(until_deadline("2026-03-01T12:00:00Z"), ms(600));
        assert_eq!(until_deadline("2026-03-01T14:00:05+02:00"), ms(5_600));
        assert_eq!(
            until_deadline("2026-03-01T11:00:00Z"),
            Err(Code::DeadlineExceeded)
        );
    }

    #[test]
    fn a_little_late_gets_the_rest_of_the_tolerance() {
        assert_eq!(until_deadline("2026-03-01T11:59:58.400Z"), ms(3_000));
        assert_eq!(until_deadline("2026-03-01T11:59:55.400Z"), ms(0));
    }

    #[test]
    fn a_refusal_names_clocks() {
        let refused = until("2026-03-01T11:59:00.400Z", now()).unwrap_err();
        let status = refused.status(SPEC.method(0));
        assert_eq!(
            status.message(),
            "the deadline passed 60.0 s before the request arrived: the request waited in a \
             buffer, or the clocks of caller and service differ"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn absurd_times_are_cut() {
        assert_eq!(allow(Some(u64::MAX), None), Ok(MAX.as_millis()));
        for far in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"] {
            assert_eq!(allow(None, Some(far)), Ok(MAX.as_millis()));
        }
        assert_eq!(
            until_deadline("0000-01-01T00:00:00Z"),
            Err(Code::DeadlineExceeded)
        );
        assert!(Deadline::after(Duration::MAX).time_left() <= Some(MAX));
    }

    #[test]
    fn unparsable_times_are_the_callers_fault() {
        for text in [
            "",
            "tomorrow",
            "2026-13-01T00:00:00Z",
            "1767225600",
            "2026-03-01 12:00",
        ] {
            assert_eq!(until_deadline(text), Err(Code::InvalidArgument), "{text:?}");
        }
    }

    #[test]
    fn absolute_times_have_milliseconds() {
        for text in [
            "2026-03-01T12:00:00.400Z",
            "1970-01-01T00:00:00.000Z",
            "2099-12-31T23:59:59.999Z",
        ] {
            let at = OffsetDateTime::parse(text, &Rfc3339).unwrap();
            assert_eq!(format_rfc3339(at), text);
            let there = UtcOffset::from_hms(5, 30, 0).unwrap();
            assert_eq!(format_rfc3339(at.to_offset(there)), text);
        }
    }

    #[test]
    fn the_earlier_wins() {
        let (a, b) = (
            Deadline::after(Duration::from_secs(1)),
            Deadline::after(Duration::from_secs(2)),
        );
        assert_eq!(a.earlier(b), a);
        assert_eq!(b.earlier(a), a);
        assert_eq!(Deadline::NONE.earlier(a), a);
        assert_eq!(Deadline::NONE.earlier(Deadline::NONE), Deadline::NONE);
    }

    proptest! {
        #[test]
        fn never_panics(relative in proptest::option::of(any::<u64>()), text in "\\PC{0,30}") {
            let _ = allow(relative, Some(&text));
        }

        #[test]
        fn a_deadline_that_is_sent_is_read(millis in 1u64..MAX.as_millis() as u64) {
            let left = Duration::from_millis(millis);
            let text = rfc3339_in(left);
            let read = until(&text, OffsetDateTime::from(SystemTime::now())).unwrap();
            // Allows for truncation to milliseconds and for time that passes.
            let least = left.saturating_sub(Duration::from_secs(5));
            prop_assert!((least..=left + SKEW).contains(&read), "{:?} {:?}", left, read);
        }

        #[test]
        fn what_is_sent_is_what_arrives(seconds in 0i64..253_402_300_799, millis in 0u16..1000) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap()
                + time::Duration::milliseconds(millis.into());
            let text = format_rfc3339(at);
            prop_assert_eq!(OffsetDateTime::parse(&text, &Rfc3339).unwrap(), at);
        }
    }
}
