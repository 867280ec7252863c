//! [`Denials`]: matches denied publishes with waiting calls.

use nmfw_core::escape::Escaped;

/// Maximum number of denied subjects. Only a client that may call hardly any method has more; its
/// calls then end at their deadlines.
const MAX_SUBJECTS: usize = 64;

/// This number of denials of a subject ends all its calls. Denials in large numbers are not all
/// reported, so calls could otherwise wait for a count that is never reached.
const MAX_DENIALS: usize = 64;

/// Counts denied publishes by subject.
///
/// The NATS server names the subject of a denied publish, not the message. If a permission is
/// revoked while calls of that subject are in flight, these were delivered and will be answered, so
/// a denial alone ends no call. Once the number of denials equals the number of waiting calls from
/// before the last denial, the waiting calls are the denied ones.
#[derive(Debug, Default)]
pub(crate) struct Denials(Vec<Denied>);

/// The denied publishes of one subject.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) subject: String,
    count: usize,
    /// The generation of the newest call at the last denial.
    newest: u32,
}

impl Denied {
    /// Returns whether the call can be one of the denied ones.
    pub(crate) fn may_be(&self, subject: &str, generation: u32) -> bool {
        // Generations wrap around.
        self.subject == subject && self.newest.wrapping_sub(generation) < u32::MAX / 2
    }
}

impl Denials {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts a denied publish. `newest` is the generation of the newest call.
    pub(crate) fn add(&mut self, subject: &str, newest: u32) {
        if let Some(denied) = self.0.iter_mut().find(|denied| denied.subject == subject) {
            denied.count += 1;
            denied.newest = newest;
        } else if self.0.len() < MAX_SUBJECTS {
            self.0.push(Denied {
                subject: subject.to_owned(),
                count: 1,
                newest,
            });
        } else {
            log_limited!(debug, subject = %Escaped::new(subject),
                "a denied publish is not counted: too many subjects"
            );
        }
    }

    /// Removes all denials, because a reconnect ends the calls of an earlier connection
    /// differently.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes and returns the subjects whose waiting calls are all denied. `waiting` returns the
    /// number of waiting calls that may be denied.
    pub(crate) fn settle(&mut self, waiting: impl Fn(&Denied) -> usize) -> Vec<Denied> {
        let is_settled =
            |denied: &mut Denied| denied.count >= MAX_DENIALS || denied.count >= waiting(denied);
        self.0.extract_if(.., is_settled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(settled: Vec<Denied>) -> Vec<String> {
        settled.into_iter().map(|denied| denied.subject).collect()
    }

    #[test]
    fn calls_are_denied_once_no_other_call_waits() {
        let mut denials = Denials::default();
        denials.add("a", 3);
        // Two calls were delivered before the permission was revoked.
        assert!(denials.settle(|_| 3).is_empty());
        assert!(denials.settle(|_| 2).is_empty());
        assert_eq!(subjects(denials.settle(|_| 1)), ["a"]);
        assert!(denials.is_empty());
    }

    #[test]
    fn calls_after_the_last_denial_are_not_denied() {
        let mut denials = Denials::default();
        denials.add("a", u32::MAX);
        let settled = denials.settle(|denied| {
            let generations = [u32::MAX - 1, u32::MAX, 0, 1].into_iter();
            let waiting = generations.filter(|generation| denied.may_be("a", *generation));
            assert!(!denied.may_be("b", u32::MAX));
            assert_eq!(waiting.count(), 2);
            1
        });
        assert_eq!(subjects(settled), ["a"]);
    }

    #[test]
    fn subjects_are_counted_apart() {
        let mut denials = Denials::default();
        denials.add("a", 1);
        denials.add("b", 2);
        denials.add("b", 3);
        let waiting = |denied: &Denied| if denied.subject == "a" { 2 } else { 1 };
        assert_eq!(subjects(denials.settle(waiting)), ["b"]);
        assert!(!denials.is_empty());
    }

    #[test]
    fn many_denials_are_all() {
        let mut denials = Denials::default();
        for _ in 0..MAX_DENIALS {
            denials.add("a", 0);
        }
        assert_eq!(subjects(denials.settle(|_| 1000)), ["a"]);
    }

    #[test]
    fn subjects_are_limited() {
        let mut denials = Denials::default();
        for number in 0..1000 {
            denials.add(&number.to_string(), number);
        }
        assert_eq!(denials.settle(|_| 0).len(), MAX_SUBJECTS);
    }
}
