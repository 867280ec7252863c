//! [`Model`]: figures over time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::discovery::Survey;

/// The number of rates that are kept for each row.
pub(super) const HISTORY: usize = 60;

/// The most rows that are kept, because instances can report any number of endpoints.
const MAX_ROWS: usize = 20_000;

/// The subject of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Service(String),
    Method(String, String),
    Instance(String, String),
}

impl Group {
    /// Returns the service, and the name of the row.
    pub(super) fn names(&self) -> (&str, &str) {
        match self {
            Self::Service(name) => (name, name),
            Self::Method(service, name) | Self::Instance(service, name) => (service, name),
        }
    }
}

/// The figures of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) instances: BTreeSet<String>,
    pub(super) versions: BTreeSet<String>,
    /// Since the instances started.
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Since the last time, for each second.
    pub(super) rate: f64,
    pub(super) error_rate: f64,
    /// The average since the last time; `None` without requests.
    pub(super) latency: Option<Duration>,
    pub(super) running: Option<u64>,
    pub(super) waiting: Option<u64>,
    /// The number of instances that serve, of those that report their health.
    pub(super) serving: usize,
    pub(super) reporting: usize,
    /// The last rates, the newest at the end.
    pub(super) history: VecDeque<f64>,
    /// The requests and their time since the last time, for the latency.
    since: (u64, u64),
}

/// An instance and an endpoint.
type Key = (String, String, String);

/// The counters of an endpoint: requests, errors, nanoseconds.
type Counts = (u64, u64, u64);

/// The rows of all services, over time.
#[derive(Debug, Default)]
pub(super) struct Model {
    rows: BTreeMap<Group, Row>,
    counts: HashMap<Key, Counts>,
    last: Option<Instant>,
    /// The number of instances.
    pub(super) instances: usize,
    /// The number of answers that were not valid.
    pub(super) invalid: usize,
}

impl Model {
    /// Returns the rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Group, &Row)> {
        self.rows.iter()
    }

    /// Returns whether the figures are known.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// Takes the figures of a survey.
    pub(super) fn update(&mut self, survey: &Survey, now: Instant) {
        let seconds = self.last.map(|last| now.duration_since(last).as_secs_f64());
        let before = std::mem::take(&mut self.counts);
        let mut rows: BTreeMap<Group, Row> = BTreeMap::new();
        for instance in &survey.instances {
            let (name, id) = (&instance.identity.name, &instance.identity.id);
            let stats = instance.stats.as_ref();
            for endpoint in stats.into_iter().flat_map(|stats| &stats.endpoints) {
                let key = (name.clone(), id.clone(), endpoint.name.clone());
                let now = (
                    endpoint.num_requests,
                    endpoint.num_errors,
                    endpoint.processing_time,
                );
                // An endpoint that is new has begun since the last time, unless all are new.
                let then = match seconds {
                    None => now,
                    Some(_) => before.get(&key).copied().unwrap_or_default(),
                };
                for group in [
                    Group::Service(name.clone()),
                    Group::Method(name.clone(), endpoint.name.clone()),
                    Group::Instance(name.clone(), id.clone()),
                ] {
                    if rows.len() >= MAX_ROWS && !rows.contains_key(&group) {
                        continue;
                    }
                    let row = rows.entry(group).or_default();
                    row.add(now, then, seconds);
                    if let Some(load) = endpoint.load() {
                        add(&mut row.running, load.running);
                        add(&mut row.waiting, load.waiting);
                    }
                    if row.instances.insert(id.clone()) {
                        row.versions.insert(instance.identity.version.clone());
                        if let Some(health) = endpoint.health() {
                            row.reporting += 1;
                            row.serving += usize::from(health == "SERVING");
                        }
                    }
                }
                self.counts.insert(key, now);
            }
        }
        for (group, row) in &mut rows {
            let (requests, nanos) = row.since;
            row.latency = nanos.checked_div(requests).map(Duration::from_nanos);
            if let Some(old) = self.rows.remove(group) {
                row.history = old.history;
            }
            if seconds.is_some() {
                row.history.push_back(row.rate);
            }
            while row.history.len() > HISTORY {
                row.history.pop_front();
            }
        }
        self.rows = rows;
        self.last = Some(now);
        self.instances = survey.instances.len();
        self.invalid = survey.invalid;
    }
}

impl Row {
    fn add(&mut self, now: Counts, then: Counts, seconds: Option<f64>) {
        // A hostile instance can report any number.
        self.requests = self.requests.saturating_add(now.0);
        self.errors = self.errors.saturating_add(now.1);
        let [requests, errors, nanos] =
            [(now.0, then.0), (now.1, then.1), (now.2, then.2)].map(|(a, b)| a.saturating_sub(b));
        self.since.0 = self.since.0.saturating_add(requests);
        self.since.1 = self.since.1.saturating_add(nanos);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            self.rate += requests as f64 / seconds;
            self.error_rate += errors as f64 / seconds;
        }
    }
}

fn add(sum: &mut Option<u64>, number: u64) {
    *sum = Some(sum.unwrap_or(0).saturating_add(number));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::discovery::{Verb, census_of};

    /// Returns a survey of instances `1` to `instances` of calc, each with these requests.
    pub(in super::super) fn survey(instances: usize, requests: u64) -> Survey {
        let answers = (1..=instances).map(|id| {
            format!(
                r#"{{"name":"calc","id":"ID{id:04}","version":"1.0.{}","endpoints":[
                    {{"name":"Add","num_requests":{requests},"num_errors":{},
                      "processing_time":{},"data":{{"running":2,"waiting":1,"concurrency":8,"queue":8,
                      "health":{{"status":"SERVING","checks":[]}}}}}},
                    {{"name":"Average","num_requests":0}}]}}"#,
                id % 2,
                requests / 10,
                requests * 2_000_000,
            )
        });
        census_of(Verb::Stats, answers)
    }

    #[test]
    fn rates_are_those_since_the_last_time() {
        let (mut model, start) = (Model::default(), Instant::now());
        model.update(&survey(3, 100), start);
        let group = Group::Service("calc".to_owned());
        assert_eq!(model.rows[&group].rate, 0.0, "the first time has no rate");
        assert!(model.rows[&group].history.is_empty());
        model.update(&survey(3, 200), start + Duration::from_secs(2));
        let row = &model.rows[&group];
        assert_eq!((row.requests, row.errors), (600, 60));
        assert_eq!((row.rate, row.error_rate), (150.0, 15.0));
        assert_eq!(row.latency, Some(Duration::from_millis(2)));
        assert_eq!((row.running, row.waiting), (Some(6), Some(3)));
        assert_eq!((row.serving, row.reporting, row.versions.len()), (3, 3, 2));
        let add = Group::Method("calc".to_owned(), "Average".to_owned());
        assert_eq!(model.rows[&add].latency, None);
        assert_eq!(model.rows[&add].running, None);
        // An instance that is gone leaves, and one that is new counts from zero.
        model.update(&survey(4, 200), start + Duration::from_secs(3));
        assert_eq!(model.rows[&group].rate, 200.0);
        model.update(&survey(1, 100), start + Duration::from_secs(4));
        assert_eq!(
            model.rows[&group].rate, 0.0,
            "a counter that went back is no rate"
        );
        assert_eq!(model.rows[&group].instances.len(), 1);
        for round in 5..100 {
            model.update(&survey(1, 100), start + Duration::from_secs(round));
        }
        assert_eq!(model.rows[&group].history.len(), HISTORY);
    }
}
