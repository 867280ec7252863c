//! [`TraceContext`]: the W3C trace context of a call.

use std::{fmt, sync::Arc};

/// Length of version, trace id, span id and flags in lower-case hexadecimal, with dashes between.
const LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// A `traceparent` of a later version may be longer.
const MAX_TRACEPARENT: usize = 256;

/// Longer values are dropped. W3C requires at least 512 bytes.
const MAX_TRACESTATE: usize = 4096;

/// The trace of a call and the span that made it: the `traceparent` and `tracestate` of [W3C Trace
/// Context](https://www.w3.org/TR/trace-context/), as on the wire.
///
/// With the feature `otel`, trace contexts are read and sent automatically: see
/// [`nmfw::trace`](https://docs.rs/nmfw/latest/nmfw/trace/index.html). Without the feature, use
/// this type to connect another tracing system: a handler reads its caller's trace context with
/// [`Context::trace_context`](crate::Context::trace_context), and a client layer sets that of a
/// call with [`Request::set_trace_context`](crate::middleware::Request::set_trace_context).
///
/// ```
/// use nmfw::TraceContext;
///
/// let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let trace = TraceContext::new(traceparent, "congo=t61rcWkgMzE")?;
/// assert_eq!(trace.traceparent(), traceparent);
/// assert_eq!(trace.tracestate(), Some("congo=t61rcWkgMzE"));
///
/// assert!(TraceContext::new("00-1-2-03", "").is_err());
/// # Ok::<_, nmfw::TraceContextError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Box<str>,
    /// Not empty.
    tracestate: Option<Box<str>>,
}

impl TraceContext {
    /// Creates a trace context from the values of both headers. `tracestate` may be empty.
    ///
    /// # Errors
    /// Fails if the `traceparent` is invalid, or if the `tracestate` is not printable ASCII or
    /// longer than 4 KiB.
    pub fn new(traceparent: &str, tracestate: &str) -> Result<Self, TraceContextError> {
        let problem = if !is_traceparent(traceparent.as_bytes()) {
            TraceContextProblem::Traceparent
        } else if !is_tracestate(tracestate.as_bytes()) {
            TraceContextProblem::Tracestate
        } else {
            let tracestate = (!tracestate.is_empty()).then(|| tracestate.into());
            return Ok(Self {
                traceparent: traceparent.into(),
                tracestate,
            });
        };
        Err(TraceContextError(problem))
    }

    /// Parses the headers of a peer. An invalid trace context is ignored; it never fails the call.
    #[doc(hidden)]
    pub fn read(traceparent: &[u8], tracestate: &[u8]) -> Option<Arc<Self>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let traceparent = text(traceparent)?;
        let tracestate = text(tracestate).filter(|_| is_tracestate(tracestate));
        let read = Self::new(traceparent, tracestate.unwrap_or_default());
        read.ok().map(Arc::new)
    }

    /// Returns `<version>-<trace>-<span>-<flags>`, each in lower-case hexadecimal.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Returns the vendor-specific list, separated by commas; never empty.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traceparent())
    }
}

/// An error for values that [`TraceContext::new`] does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TraceContextError(TraceContextProblem);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TraceContextProblem {
    Traceparent,
    Tracestate,
}

impl fmt::Display for TraceContextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traceparent => {
                "not a traceparent: the format is version-trace-span-flags, with 2, 32, 16 and 2 \
                 lower-case hexadecimal digits, and neither trace nor span may be 0"
            }
            Self::Tracestate => {
                "not a tracestate: at most 4 KiB of printable ASCII without leading or trailing \
                 blanks are allowed"
            }
        })
    }
}

fn is_traceparent(text: &[u8]) -> bool {
    let Some((known, more)) = text.split_at_checked(LEN) else {
        return false;
    };
    let is_hex = |part: &[u8]| {
        let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        part.iter().all(is_digit)
    };
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let [version, trace, span, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
    let has_dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    // The extra fields of a later version are forwarded, and so have to be valid in a header.
    let is_more = |more: &[u8]| {
        more.first() == Some(&b'-')
            && text.len() <= MAX_TRACEPARENT
            && more.iter().all(u8::is_ascii_graphic)
    };
    has_dashes
        && [version, trace, span, flags].into_iter().all(is_hex)
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(span)
        && (more.is_empty() || (version != b"00" && is_more(more)))
}

/// Returns whether a `tracestate` can be forwarded. Its members are opaque.
fn is_tracestate(text: &[u8]) -> bool {
    text.len() <= MAX_TRACESTATE
        && text.iter().all(|b| matches!(b, b' '..=b'~'))
        && text.trim_ascii().len() == text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_a_traceparent() {
        let later = GOOD.replacen("00", "cc", 1);
        for good in [GOOD.to_owned(), later.clone(), format!("{later}-what-else")] {
            let trace = TraceContext::new(&good, "").unwrap();
            assert_eq!((trace.traceparent(), trace.tracestate()), (&*good, None));
        }
        for bad in [
            String::new(),
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            format!("{GOOD}-"),
            format!(" {GOOD}"),
            format!("{later}x"),
            format!("{later}-\n"),
            format!("{later}-{}", "x".repeat(300)),
            GOOD.replace('-', "_"),
            GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            GOOD.replace(
                "0af7651916cd43dd8448eb211c80319c",
                "00000000000000000000000000000000",
            ),
            GOOD[1..].to_owned(),
        ] {
            let error = TraceContext::new(&bad, "").unwrap_err();
            assert!(error.to_string().contains("traceparent"), "{bad:?}");
            assert!(TraceContext::read(bad.as_bytes(), b"").is_none());
        }
        assert!(TraceContext::read(&[0xff; LEN], b"").is_none());
    }

    #[test]
    fn a_bad_tracestate_is_as_if_it_were_not_there() {
        for bad in ["a=\n", "ä=1", " a=1", &"x".repeat(5000)] {
            TraceContext::new(GOOD, bad).unwrap_err();
            let read = TraceContext::read(GOOD.as_bytes(), bad.as_bytes()).unwrap();
            assert_eq!(read.tracestate(), None);
        }
        let read = TraceContext::read(GOOD.as_bytes(), b"a=1, b=2").unwrap();
        assert_eq!(read.tracestate(), Some("a=1, b=2"));
    }

    proptest! {
        /// async-nats panics on line breaks in headers.
        #[test]
        fn accepted_values_are_valid_headers(traceparent: Vec<u8>, tracestate: Vec<u8>) {
            let good = [GOOD.as_bytes(), &traceparent].concat();
            for traceparent in [traceparent, good] {
                if let Some(read) = TraceContext::read(&traceparent, &tracestate) {
                    let texts = [Some(read.traceparent()), read.tracestate()];
                    prop_assert!(texts.into_iter().flatten().all(|text| !text.contains(['\r', '\n'])));
                }
            }
        }
    }
}
