//! [`Census`]: collects answers and knows when all that are expected have come.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    Verb,
    answer::{Endpoint, EndpointStats, Identity, endpoints, read},
};

/// Maximum number of answers that are read: more than an account has instances.
const MAX_ANSWERS: usize = 20_000;

/// Maximum size of all answers in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The least and the longest silence after which no further instance is expected. In between, it is
/// the time to the first answer, times [`PATIENCE`].
const MIN_QUIET: Duration = Duration::from_millis(300);
const MAX_QUIET: Duration = Duration::from_secs(1);
const PATIENCE: u32 = 4;

/// The silence after which an instance that has answered one verb, but not another, is silent.
const STALL: Duration = Duration::from_secs(1);

/// An instance, by its answers.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) identity: Identity,
    /// The time to its first answer.
    pub(crate) after: Duration,
    /// From INFO.
    pub(crate) info: Option<Info>,
    /// From STATS.
    pub(crate) stats: Option<Stats>,
}

impl Instance {
    /// Returns whether it serves; `None` if it does not report its health.
    pub(crate) fn is_serving(&self) -> Option<bool> {
        match self.identity.metadata.get("nmfw.health")?.as_str() {
            "SERVING" => Some(true),
            "NOT_SERVING" => Some(false),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) description: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(crate) struct Stats {
    pub(crate) started: String,
    pub(crate) endpoints: Vec<EndpointStats>,
}

/// The result of a survey.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// In the order of name, version and id.
    pub(crate) instances: Vec<Instance>,
    /// Instances that answered one verb but not another, with the verb.
    pub(crate) silent: Vec<(Identity, &'static str)>,
    /// The number of answers that were not valid, and why the first one was not.
    pub(crate) invalid: usize,
    pub(crate) first_invalid: Option<String>,
    /// Whether there were too many answers to read all.
    pub(crate) is_cut: bool,
}

/// Collects answers. Pure, to be testable at any speed.
#[derive(Debug)]
pub(super) struct Census {
    verbs: Vec<Verb>,
    started: Instant,
    /// The time of the last answer that was new.
    last: Option<Instant>,
    quiet: Duration,
    /// Verbs on whose subject nothing listens.
    unheard: HashSet<Verb>,
    instances: BTreeMap<(String, String), Instance>,
    answered: HashSet<(Verb, String, String)>,
    answers: usize,
    bytes: usize,
    survey: Survey,
}

impl Census {
    pub(super) fn new(verbs: &[Verb], started: Instant) -> Self {
        Self {
            verbs: verbs.to_vec(),
            started,
            last: None,
            quiet: MAX_QUIET,
            unheard: HashSet::new(),
            instances: BTreeMap::new(),
            answered: HashSet::new(),
            answers: 0,
            bytes: 0,
            survey: Survey::default(),
        }
    }

    /// Notes that nothing listens to a verb.
    pub(super) fn unheard(&mut self, verb: Verb) {
        self.unheard.insert(verb);
    }

    /// Reads an answer.
    pub(super) fn add(&mut self, verb: Verb, payload: &[u8], now: Instant) {
        self.answers += 1;
        self.bytes += payload.len();
        if self.answers > MAX_ANSWERS || self.bytes > MAX_BYTES {
            self.survey.is_cut = true;
            return;
        }
        let answer = match read(verb, payload) {
            Ok(answer) => answer,
            Err(why) => return self.invalid(why),
        };
        let key = (answer.identity.name.clone(), answer.identity.id.clone());
        if !self.answered.insert((verb, key.0.clone(), key.1.clone())) {
            return self.invalid(format!("instance {} answered twice", key.1));
        }
        let after = now.saturating_duration_since(self.started);
        if self.last.is_none() {
            self.quiet = (after * PATIENCE).clamp(MIN_QUIET, MAX_QUIET);
        }
        self.last = Some(now);
        let instance = self.instances.entry(key).or_insert_with(|| Instance {
            identity: answer.identity.clone(),
            after,
            info: None,
            stats: None,
        });
        let invalid = match verb {
            Verb::Ping => 0,
            Verb::Info => {
                let (endpoints, invalid) = endpoints(answer.endpoints);
                // Only INFO has the health of a service of nmfw.
                instance.identity.metadata = answer.identity.metadata;
                let description = answer.description;
                instance.info = Some(Info {
                    description,
                    endpoints,
                });
                invalid
            }
            Verb::Stats => {
                let (endpoints, invalid) = endpoints(answer.endpoints);
                let started = answer.started;
                instance.stats = Some(Stats { started, endpoints });
                invalid
            }
        };
        if invalid > 0 {
            let id = instance.identity.id.clone();
            self.invalid(format!(
                "{invalid} endpoints of instance {id} are not valid"
            ));
        }
    }

    fn invalid(&mut self, why: String) {
        self.survey.invalid += 1;
        self.survey.first_invalid.get_or_insert(why);
    }

    /// Returns when to stop waiting, unless an answer comes before; `None` to stop now.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        let is_unheard = self.verbs.iter().all(|verb| self.unheard.contains(verb));
        if is_unheard || self.survey.is_cut {
            return None;
        }
        let end = self.started + limit;
        let Some(last) = self.last else {
            return Some(end);
        };
        if self.answered.len() < self.instances.len() * self.verbs.len() {
            return Some(end.min(last + STALL.max(self.quiet)));
        }
        Some(end.min(last + self.quiet))
    }

    /// Returns the result.
    pub(super) fn finish(self) -> Survey {
        let Self {
            verbs,
            instances,
            answered,
            mut survey,
            ..
        } = self;
        for ((name, id), instance) in &instances {
            for verb in &verbs {
                if !answered.contains(&(*verb, name.clone(), id.clone())) {
                    survey
                        .silent
                        .push((instance.identity.clone(), verb.token()));
                }
            }
        }
        survey.instances = instances.into_values().collect();
        survey.instances.sort_by(|a, b| {
            let key = |instance: &Instance| {
                let Identity {
                    name, version, id, ..
                } = &instance.identity;
                (name.clone(), version.clone(), id.clone())
            };
            key(a).cmp(&key(b))
        });
        survey
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn answer(id: &str) -> Vec<u8> {
        format!(r#"{{"name":"calc","id":"{id}","version":"1.0.0","endpoints":[]}}"#).into_bytes()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_ends_when_all_that_are_expected_have_answered() {
        let start = Instant::now();
        let mut census = Census::new(&[Verb::Ping, Verb::Info], start);
        assert_eq!(census.deadline(LIMIT), Some(start + LIMIT));
        census.add(Verb::Ping, &answer("1"), start + ms(10));
        // Its INFO is missing.
        assert_eq!(census.deadline(LIMIT), Some(start + ms(10) + STALL));
        census.add(Verb::Info, &answer("1"), start + ms(20));
        assert_eq!(census.deadline(LIMIT), Some(start + ms(20) + MIN_QUIET));
        // An instance that answers INFO first counts as well.
        census.add(Verb::Info, &answer("2"), start + ms(30));
        assert_eq!(census.deadline(LIMIT), Some(start + ms(30) + STALL));
        census.add(Verb::Ping, &answer("2"), start + ms(40));
        assert_eq!(census.deadline(LIMIT), Some(start + ms(40) + MIN_QUIET));
        // The limit holds in any case.
        assert_eq!(census.deadline(ms(50)), Some(start + ms(50)));
        let survey = census.finish();
        assert_eq!((survey.instances.len(), survey.silent.len()), (2, 0));
    }

    #[test]
    fn distant_services_get_more_time() {
        let start = Instant::now();
        let mut census = Census::new(&[Verb::Ping], start);
        census.add(Verb::Ping, &answer("1"), start + ms(100));
        assert_eq!(census.deadline(LIMIT), Some(start + ms(100) + ms(400)));
    }

    #[test]
    fn nothing_is_waited_for_where_nothing_listens() {
        let mut census = Census::new(&[Verb::Ping, Verb::Info], Instant::now());
        census.unheard(Verb::Ping);
        assert!(census.deadline(LIMIT).is_some());
        census.unheard(Verb::Info);
        assert_eq!(census.deadline(LIMIT), None);
    }

    #[test]
    fn repeated_and_invalid_answers_do_not_prolong_it() {
        let start = Instant::now();
        let mut census = Census::new(&[Verb::Ping], start);
        census.add(Verb::Ping, &answer("1"), start);
        let deadline = census.deadline(LIMIT);
        census.add(Verb::Ping, &answer("1"), start + ms(90));
        census.add(Verb::Ping, b"nonsense", start + ms(95));
        assert_eq!(census.deadline(LIMIT), deadline);
        let survey = census.finish();
        assert_eq!((survey.instances.len(), survey.invalid), (1, 2));
        assert!(survey.first_invalid.unwrap().contains("twice"));
    }

    #[test]
    fn a_flood_ends_it() {
        let start = Instant::now();
        let mut census = Census::new(&[Verb::Ping], start);
        for id in 0..=MAX_ANSWERS {
            census.add(Verb::Ping, &answer(&id.to_string()), start);
        }
        assert_eq!(census.deadline(LIMIT), None);
        let mut large = Census::new(&[Verb::Ping], start);
        let payload = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..5 {
            large.add(Verb::Ping, &payload, start);
        }
        assert_eq!(large.deadline(LIMIT), None);
        assert!(large.finish().is_cut);
    }

    #[test]
    fn the_silent_are_named() {
        let start = Instant::now();
        let mut census = Census::new(&[Verb::Ping, Verb::Stats], start);
        census.add(Verb::Ping, &answer("1"), start);
        let survey = census.finish();
        assert_eq!(survey.silent.len(), 1);
        assert_eq!(survey.silent[0].1, "STATS");
    }
}
