//! [`Pending`]: calls whose replies have not been seen yet.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::recorded::Recorded;

/// The most calls that wait for their replies.
const MAX_CALLS: usize = 10_000;

/// The most bytes of requests that wait, as JSON.
const MAX_BYTES: usize = 64 << 20;

/// The longest wait for a reply.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Calls by the subjects of their replies. Its memory is bounded: the oldest calls give way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: HashMap<String, Waiting>,
    /// The subjects in the order of arrival.
    order: BTreeMap<u64, String>,
    next: u64,
    bytes: usize,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Recorded,
    pub(super) since: Instant,
    until: Instant,
    bytes: usize,
    number: u64,
}

impl Pending {
    /// Adds a call, and returns those that have to give way.
    pub(super) fn add(
        &mut self,
        subject: String,
        call: Recorded,
        bytes: usize,
        wait: Duration,
    ) -> Vec<Recorded> {
        let since = Instant::now();
        let mut out = Vec::new();
        // A caller that uses a subject twice gets its first reply.
        out.extend(self.take(&subject).map(|waiting| waiting.call));
        let waiting = Waiting {
            call,
            since,
            until: since + wait.min(MAX_WAIT),
            bytes,
            number: self.next,
        };
        self.bytes += bytes;
        self.order.insert(self.next, subject.clone());
        self.next += 1;
        self.calls.insert(subject, waiting);
        while self.calls.len() > MAX_CALLS || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            out.extend(self.take(&oldest).map(|waiting| waiting.call));
        }
        out
    }

    /// Removes the call whose reply has this subject.
    pub(super) fn take(&mut self, subject: &str) -> Option<Waiting> {
        let waiting = self.calls.remove(subject)?;
        self.order.remove(&waiting.number);
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// Removes the calls that have waited too long; all with `None`.
    pub(super) fn expired(&mut self, now: Option<Instant>) -> Vec<Recorded> {
        let is_over = |waiting: &Waiting| now.is_none_or(|now| waiting.until <= now);
        let subjects = self.order.values();
        let over: Vec<_> = subjects
            .filter(|subject| self.calls.get(*subject).is_some_and(is_over))
            .cloned()
            .collect();
        let calls = over.iter().filter_map(|subject| self.take(subject));
        calls.map(|waiting| waiting.call).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn call(name: &str) -> Recorded {
        let line = format!(r#"{{"time":"","method":"{name}","request":{{}}}}"#);
        serde_json::from_str(&line).unwrap()
    }

    fn names(calls: Vec<Recorded>) -> Vec<String> {
        calls.into_iter().map(|call| call.method).collect()
    }

    #[test]
    fn calls_wait_for_their_replies() {
        let mut pending = Pending::default();
        let second = Duration::from_secs(1);
        assert!(
            pending
                .add("a".to_owned(), call("1"), 10, second)
                .is_empty()
        );
        assert!(
            pending
                .add("b".to_owned(), call("2"), 10, 9 * second)
                .is_empty()
        );
        assert_eq!(
            names(pending.add("a".to_owned(), call("3"), 10, second)),
            ["1"]
        );
        assert!(pending.take("c").is_none());
        assert!(pending.expired(Some(Instant::now())).is_empty());
        assert_eq!(
            names(pending.expired(Some(Instant::now() + 2 * second))),
            ["3"]
        );
        assert_eq!(pending.take("b").unwrap().call.method, "2");
        assert_eq!((pending.bytes, pending.order.len()), (0, 0));
    }

    #[test]
    fn the_oldest_give_way() {
        let mut pending = Pending::default();
        let wait = Duration::from_secs(1);
        for number in 0..MAX_CALLS {
            let subject = number.to_string();
            assert!(
                pending
                    .add(subject.clone(), call(&subject), 1, wait)
                    .is_empty()
            );
        }
        assert_eq!(
            names(pending.add("x".to_owned(), call("x"), 1, wait)),
            ["0"]
        );
        let out = pending.add("large".to_owned(), call("large"), MAX_BYTES, wait);
        assert_eq!(out.len(), MAX_CALLS);
        assert_eq!(names(pending.expired(None)), ["large"]);
    }
}
