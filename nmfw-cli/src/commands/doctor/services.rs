//! Checks that compare the instances of a service.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::finding::Finding;
use crate::{
    discovery::{Endpoint, Instance},
    output::text::count,
    schema,
};

/// Checks all services.
pub(super) fn check(instances: &[Instance]) -> Vec<Finding> {
    let mut services: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in instances {
        services
            .entry(&instance.identity.name)
            .or_default()
            .push(instance);
    }
    let mut findings = Vec::new();
    for (name, instances) in services {
        let mut found = names(name, &instances);
        found.extend(versions(name, &instances));
        found.extend(endpoints(name, &instances));
        let serving = instances
            .iter()
            .filter(|i| i.is_serving() != Some(false))
            .count();
        if serving == 0 {
            found.push(Finding::problem(name, "no instance serves").advice(format!(
                "calls fail with UNAVAILABLE: `nmfw stats {name}` shows the checks that fail"
            )));
        }
        let is_good = found.is_empty();
        let answer = if instances.len() == 1 {
            "answers"
        } else {
            "answer"
        };
        let text = format!("{} {answer}", count(instances.len(), "instance"));
        if is_good {
            found.push(Finding::good(name, text));
        }
        findings.extend(found);
    }
    findings
}

/// Returns the different values that instances have, with the number of instances.
fn values<'a, T: Ord>(
    instances: &[&'a Instance],
    value: impl Fn(&'a Instance) -> T,
) -> BTreeMap<T, usize> {
    let mut values = BTreeMap::new();
    for instance in instances {
        *values.entry(value(instance)).or_default() += 1;
    }
    values
}

/// Lists different values: `1.0.0 (2), 1.1.0 (1)`.
fn listed<T: std::fmt::Display>(values: &BTreeMap<T, usize>) -> String {
    let listed = values
        .iter()
        .map(|(value, number)| format!("{value} ({number})"));
    listed.collect::<Vec<_>>().join(", ")
}

fn names(name: &str, instances: &[&Instance]) -> Vec<Finding> {
    let full = |instance: &Instance| instance.identity.metadata.get("nmfw.service").cloned();
    let names = values(instances, |instance| {
        full(instance).unwrap_or("none".to_owned())
    });
    if names.len() < 2 {
        return Vec::new();
    }
    let text = format!(
        "services of different .proto files have this name: {}",
        listed(&names)
    );
    vec![Finding::problem(name, text).advice("rename one of them with `Service::name`")]
}

fn versions(name: &str, instances: &[&Instance]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let versions = values(instances, |instance| instance.identity.version.clone());
    if versions.len() > 1 {
        findings.push(
            Finding::note(name, format!("several versions run: {}", listed(&versions)))
                .advice("during a rollout, this is as it should be"),
        );
    }
    let mut schemas: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for instance in instances {
        if let Some(hash) = schema::hash(instance) {
            schemas
                .entry(&instance.identity.version)
                .or_default()
                .insert(hash);
        }
    }
    for (version, hashes) in &schemas {
        if hashes.len() > 1 {
            let text = format!(
                "instances of version {version} have {} schemas",
                hashes.len()
            );
            findings.push(
                Finding::problem(name, text).advice(
                    "a change of the .proto needs a new version: set it where it is served",
                ),
            );
        }
    }
    let all: BTreeSet<_> = schemas.values().flatten().collect();
    if schemas.len() > 1 && all.len() > 1 {
        findings.push(
            Finding::note(name, "its versions have different schemas")
                .advice(format!("`nmfw info {name}` shows which instance has which")),
        );
    }
    let is_nmfw = |instance: &&&Instance| instance.identity.metadata.contains_key("nmfw.service");
    let without = instances
        .iter()
        .filter(is_nmfw)
        .filter(|i| schema::hash(i).is_none())
        .count();
    if without > 0 {
        let have = if without == 1 { "has" } else { "have" };
        let text = format!("{} {have} no schema", count(without, "instance"));
        findings.push(
            Finding::note(name, text)
                .advice("build the service with a current nmfw-build and its `embed_schema`"),
        );
    }
    findings
}

/// Checks that instances have the same endpoints, in the same queue groups.
fn endpoints(name: &str, instances: &[&Instance]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut subjects: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    let with_info: Vec<_> = instances.iter().filter_map(|i| i.info.as_ref()).collect();
    for endpoint in with_info.iter().flat_map(|info| &info.endpoints) {
        subjects
            .entry(&endpoint.subject)
            .or_default()
            .push(endpoint);
    }
    for (subject, endpoints) in subjects {
        let groups: BTreeSet<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.queue_group.as_deref())
            .collect();
        if groups.len() > 1 {
            let groups = groups.iter().map(|group| match *group {
                "" => "none",
                group => group,
            });
            let groups = groups.collect::<Vec<_>>().join(", ");
            findings.push(
                Finding::problem(
                    name,
                    format!("{subject} is in several queue groups: {groups}"),
                )
                .advice("each group gets each request: set one with `Service::queue_group`"),
            );
        }
        if endpoints.len() < with_info.len() {
            let text = format!(
                "{} of {} instances serve {subject}",
                endpoints.len(),
                with_info.len()
            );
            findings.push(
                Finding::note(name, text)
                    .advice("the others are of another version, or were started with --methods"),
            );
        }
    }
    findings
}

/// Returns how long ago an instance started; `None` if that is in the future.
pub(super) fn age(started: &str, now: SystemTime) -> Result<Option<std::time::Duration>, ()> {
    let format = &time::format_description::well_known::Rfc3339;
    let started = time::OffsetDateTime::parse(started, format).map_err(drop)?;
    Ok(now.duration_since(SystemTime::from(started)).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_are_those_of_this_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(
            age("1970-01-01T00:01:30Z", now),
            Ok(Some(Duration::from_secs(10)))
        );
        assert_eq!(age("1970-01-01T00:02:30.5+00:00", now), Ok(None));
        assert_eq!(age("", now), Err(()));
    }
}
