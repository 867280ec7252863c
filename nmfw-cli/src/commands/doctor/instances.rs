//! Checks of single instances.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use nmfw::{Connection, async_nats::ConnectionExt};

use super::{finding::Finding, services::age};
use crate::{
    discovery::{EndpointStats, Instance},
    facts::Facts,
    output::text::count,
};

/// How many instances are asked at a time.
const AT_A_TIME: usize = 32;

/// Checks all instances; those of nmfw must answer on their own subjects, too.
pub(super) async fn check(
    nats: &Connection,
    instances: &[Instance],
    limit: Duration,
) -> Vec<Finding> {
    let asking = stream::iter(instances.iter().map(|instance| async move {
        let mut findings = said(instance);
        if let Some(finding) = reach(nats, instance, limit).await {
            findings.push(finding);
        }
        findings
    }));
    let findings: Vec<_> = asking.buffered(AT_A_TIME).collect().await;
    findings.concat()
}

fn about(instance: &Instance) -> String {
    format!("{} {}", instance.identity.name, instance.identity.id)
}

/// Checks the answers of an instance.
fn said(instance: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(stats) = &instance.stats else {
        return findings;
    };
    if instance.is_serving() == Some(false) {
        let failing = stats.endpoints.first().map(EndpointStats::failing);
        let failing = failing.unwrap_or_default();
        let text = match &failing[..] {
            [] => "it does not serve".to_owned(),
            checks => {
                let checks = checks
                    .iter()
                    .map(|(name, error)| format!("{name} ({error})"));
                format!(
                    "it does not serve: {}",
                    checks.collect::<Vec<_>>().join(", ")
                )
            }
        };
        findings.push(
            Finding::problem(about(instance), text)
                .advice("other instances get its calls until its checks succeed"),
        );
    }
    for endpoint in &stats.endpoints {
        let Some(load) = endpoint.load() else {
            continue;
        };
        if load.concurrency > 0 && load.running >= load.concurrency {
            let running = usize::try_from(load.running).unwrap_or(usize::MAX);
            let waiting = usize::try_from(load.waiting).unwrap_or(usize::MAX);
            let text = format!(
                "{} is full: {} running, {} waiting",
                endpoint.name,
                count(running, "call"),
                count(waiting, "call")
            );
            findings
                .push(Finding::problem(about(instance), text).advice(
                    "start more instances, or raise the limit with `Service::concurrency`",
                ));
        }
    }
    if age(&stats.started, SystemTime::now()) == Ok(None) {
        findings.push(
            Finding::problem(about(instance), "it started in the future, by this clock")
                .advice("synchronize the clocks of its machine and this one"),
        );
    }
    findings
}

/// Asks an instance of nmfw on its own subject, which calls that stream need.
async fn reach(nats: &Connection, instance: &Instance, limit: Duration) -> Option<Finding> {
    let facts = Facts::of(std::slice::from_ref(instance)).ok()?;
    let subject = format!("{}._i.{}.health", facts.base, instance.identity.id);
    let asking = nats.client().request(subject.clone(), "".into());
    let why = match tokio::time::timeout(limit, asking).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {limit:?}"),
    };
    Some(
        Finding::problem(
            about(instance),
            format!("it answers discovery, but not on {subject}: {why}"),
        )
        .advice(
            "it is half dead and should be restarted, or this user may not publish there: \
             `nmfw permissions` prints what is needed",
        ),
    )
}
