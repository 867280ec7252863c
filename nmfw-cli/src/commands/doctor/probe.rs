//! Probes: calls without time, which no handler sees.

use std::time::{Duration, SystemTime};

use nmfw::{
    Connection,
    async_nats::{ConnectionExt, HeaderMap},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::finding::Finding;
use crate::{discovery::Instance, duration, facts::Facts};

/// How far in the past the deadline of a probe is. A service refuses calls from 5 s on.
const PAST: Duration = Duration::from_secs(3600);

/// The difference of clocks from which it is a problem: the tolerance of services.
const TOLERANCE: f64 = 5.0;

/// Sends each method of each service a call whose deadline has passed.
pub(super) async fn check(
    nats: &Connection,
    instances: &[Instance],
    limit: Duration,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for services in instances.chunk_by(|a, b| a.identity.name == b.identity.name) {
        let Ok(facts) = Facts::of(services) else {
            continue;
        };
        for method in facts.methods.keys() {
            let subject = format!("{}.{method}", facts.base);
            findings.push(match probe(nats, &subject, limit).await {
                Ok(Some(skew)) if skew.abs() > TOLERANCE => {
                    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
                    let by = duration::short(Duration::from_secs_f64(skew.abs()));
                    Finding::problem(
                        subject,
                        format!("the clock of an instance is {by} {direction} this one"),
                    )
                    .advice("calls of Go nmfw then fail: synchronize the clocks")
                }
                Ok(Some(_)) => Finding::good(subject, "it is answered, and clocks agree"),
                Ok(None) => Finding::good(subject, "it is answered"),
                Err(why) => Finding::problem(subject, why).advice(format!(
                    "`nmfw permissions {} --role client` prints what a caller needs",
                    facts.name
                )),
            });
        }
    }
    findings
}

/// Sends a probe, and returns by how many seconds the clock of the instance is ahead, if it says so.
async fn probe(nats: &Connection, subject: &str, limit: Duration) -> Result<Option<f64>, String> {
    let mut headers = HeaderMap::new();
    let past = OffsetDateTime::from(SystemTime::now() - PAST);
    let past = past
        .replace_nanosecond(past.millisecond() as u32 * 1_000_000)
        .unwrap_or(past);
    headers.insert("Nmfw-Deadline", past.format(&Rfc3339).unwrap_or_default());
    let asking = nats
        .client()
        .request_with_headers(subject.to_owned(), headers, "".into());
    let answer = match tokio::time::timeout(limit, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("a call is not answered: {error}")),
        Err(_) => return Err(format!("a call is not answered within {limit:?}")),
    };
    let headers = answer.headers.unwrap_or_default();
    let error = headers
        .get("Nats-Service-Error")
        .map(|error| error.as_str().to_owned());
    Ok(error
        .as_deref()
        .and_then(passed)
        .map(|passed| passed - PAST.as_secs_f64()))
}

/// Returns how long ago the deadline passed, by the clock of the instance.
fn passed(error: &str) -> Option<f64> {
    let (_, rest) = error.split_once("the deadline passed ")?;
    rest.split_once(" s ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_from_the_error() {
        let error = "the deadline passed 3601.5 s before the request arrived: the request waited";
        assert_eq!(passed(error), Some(3601.5));
        assert_eq!(passed("the deadline passed"), None);
    }
}
