//! ADR-32 discovery: PING, INFO and STATS of an instance.
//!
//! Clients check these answers against a schema, and some drop a whole listing because of one
//! invalid answer: every field is present, lists and maps are never null, and times have at most
//! six decimals. An answer beyond the NATS server's `max_payload` could not be sent, so it is
//! shortened within the schema.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber, client::PublishErrorKind};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Error,
    nats::{reply_subject, subject},
};
use nmfw_core::{
    call::client_version::client_version,
    escape::Escaped,
    log_limit::LogLimit,
    service::{
        health::Health,
        instance::{Endpoint, Instance},
    },
    token_bucket::{Bucket, Pace},
};

const QUEUE_GROUP_OF_NONE: &str = "";

/// Rate limit for warnings about answers that are shortened or cannot be shortened enough.
static SHORTENED: LogLimit = LogLimit::new();
static UNSENT: LogLimit = LogLimit::new();

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Ping,
    Info,
    Stats,
}

impl Verb {
    const ALL: [Self; 3] = [Self::Ping, Self::Info, Self::Stats];

    const fn token(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }
}

/// The common part of all three answers.
#[derive(Serialize)]
struct ServiceIdentity<'a> {
    r#type: &'static str,
    name: &'a str,
    id: &'a str,
    version: &'a str,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    identity: ServiceIdentity<'a>,
    description: &'a str,
    endpoints: Vec<EndpointInfo<'a>>,
}

#[derive(Serialize)]
struct EndpointInfo<'a> {
    name: &'a str,
    subject: &'a str,
    queue_group: &'a str,
    metadata: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Stats<'a> {
    #[serde(flatten)]
    identity: ServiceIdentity<'a>,
    started: &'a str,
    endpoints: Vec<EndpointStats<'a>>,
}

#[derive(Serialize)]
struct EndpointStats<'a> {
    name: &'a str,
    subject: &'a str,
    queue_group: &'a str,
    num_requests: u64,
    num_errors: u64,
    last_error: String,
    /// In nanoseconds, like the next.
    processing_time: u64,
    average_processing_time: u64,
    /// Application-specific in ADR-32; some clients require it.
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Whole(EndpointData<'a>),
    LeftOut {},
}

#[derive(Serialize)]
struct EndpointData<'a> {
    running: usize,
    waiting: usize,
    concurrency: usize,
    queue: usize,
    health: &'a Health,
}

/// The extent of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Without description, metadata, data and errors, and with this number of endpoints.
    Bare(usize),
}

impl Extent {
    fn is_whole(self) -> bool {
        self == Self::Whole
    }

    fn endpoints(self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Bare(endpoints) => endpoints,
        }
    }
}

/// Discovery answers of an instance.
trait Describe {
    fn describe(&self, verb: Verb, max_payload: usize) -> Result<Vec<u8>, serde_json::Error>;
    fn describe_to(&self, verb: Verb, extent: Extent) -> Result<Vec<u8>, serde_json::Error>;
    fn metadata_with_health(&self) -> BTreeMap<String, String>;
    fn shown(&self, r#type: &'static str, extent: Extent) -> ServiceIdentity<'_>;
}

impl Describe for Instance {
    /// Returns the answer to a verb as JSON, with as much content as fits into `max_payload`.
    fn describe(&self, verb: Verb, max_payload: usize) -> Result<Vec<u8>, serde_json::Error> {
        let whole = self.describe_to(verb, Extent::Whole)?;
        if whole.len() <= max_payload {
            return Ok(whole);
        }
        if SHORTENED.pass().is_some() {
            tracing::warn!(
                service = self.name,
                ?verb,
                bytes = whole.len(),
                max_payload,
                "a discovery answer was shortened: it exceeds the NATS server's max_payload"
            );
        }
        let mut best = self.describe_to(verb, Extent::Bare(0))?;
        // Binary search for the largest number of endpoints that fits.
        let (mut fits, mut too_many) = (0, self.endpoints.len() + 1);
        while fits + 1 < too_many {
            let middle = usize::midpoint(fits, too_many);
            let answer = self.describe_to(verb, Extent::Bare(middle))?;
            if answer.len() <= max_payload {
                (fits, best) = (middle, answer);
            } else {
                too_many = middle;
            }
        }
        Ok(best)
    }

    fn describe_to(&self, verb: Verb, extent: Extent) -> Result<Vec<u8>, serde_json::Error> {
        let endpoints = self.endpoints.iter().take(extent.endpoints());
        match verb {
            Verb::Ping => serde_json::to_vec(&self.shown("io.nats.micro.v1.ping_response", extent)),
            Verb::Info => {
                let mut identity = self.shown("io.nats.micro.v1.info_response", extent);
                let with_health;
                let mut description = "";
                if extent.is_whole() {
                    with_health = self.metadata_with_health();
                    identity.metadata = &with_health;
                    description = &self.description;
                }
                serde_json::to_vec(&Info {
                    identity,
                    description,
                    endpoints: endpoints.map(|e| e.info(extent)).collect(),
                })
            }
            Verb::Stats => {
                let health = self.health();
                serde_json::to_vec(&Stats {
                    identity: self.shown("io.nats.micro.v1.stats_response", extent),
                    started: &self.started,
                    endpoints: endpoints
                        .map(|e| DescribeEndpoint::stats(&**e, &health, extent))
                        .collect(),
                })
            }
        }
    }

    fn metadata_with_health(&self) -> BTreeMap<String, String> {
        let mut metadata = self.metadata.clone();
        let health = self.health().status.name().to_owned();
        metadata.insert("nmfw.health".to_owned(), health);
        metadata
    }

    fn shown(&self, r#type: &'static str, extent: Extent) -> ServiceIdentity<'_> {
        static NO_METADATA: BTreeMap<String, String> = BTreeMap::new();
        let (version, metadata) = if extent.is_whole() {
            (&*self.version, &self.metadata)
        } else {
            // The result is still a SemVer.
            let short = client_version(&self.version);
            (short.unwrap_or(&self.version), &NO_METADATA)
        };
        ServiceIdentity {
            r#type,
            name: &self.name,
            id: &self.id,
            version,
            metadata,
        }
    }
}

/// Discovery data of an endpoint.
trait DescribeEndpoint {
    fn info(&self, extent: Extent) -> EndpointInfo<'_>;
    fn stats<'a>(&'a self, health: &'a Health, extent: Extent) -> EndpointStats<'a>;
    fn queue_group(&self) -> &str;
}

impl DescribeEndpoint for Endpoint {
    fn info(&self, extent: Extent) -> EndpointInfo<'_> {
        let mut metadata = BTreeMap::new();
        if extent.is_whole() {
            let facts = self.method.metadata().iter();
            metadata.extend(facts.map(|(key, value)| (*key, (*value).to_owned())));
            metadata.insert("nmfw.method", self.method.full_name());
        }
        EndpointInfo {
            name: self.method.name(),
            subject: &self.subject,
            queue_group: self.queue_group(),
            metadata,
        }
    }

    fn stats<'a>(&'a self, health: &'a Health, extent: Extent) -> EndpointStats<'a> {
        let stats = self.stats.snapshot();
        let nanos = u64::try_from(stats.processing.as_nanos()).unwrap_or(u64::MAX);
        let (last_error, data) = if extent.is_whole() {
            let data = Data::Whole(EndpointData {
                health,
                running: self.admission.running(),
                waiting: self.admission.waiting(),
                concurrency: self.limits.concurrency,
                queue: self.limits.queue,
            });
            (stats.last_error, data)
        } else {
            (String::new(), Data::LeftOut {})
        };
        EndpointStats {
            name: self.method.name(),
            subject: &self.subject,
            queue_group: self.queue_group(),
            num_requests: stats.requests,
            num_errors: stats.errors,
            last_error,
            processing_time: nanos,
            average_processing_time: nanos.checked_div(stats.requests).unwrap_or(0),
            data,
        }
    }

    fn queue_group(&self) -> &str {
        self.limits
            .queue_group
            .as_deref()
            .unwrap_or(QUEUE_GROUP_OF_NONE)
    }
}

/// Returns the subjects on which an instance answers.
pub(crate) fn subjects(instance: &Instance) -> Vec<String> {
    let of = |verb: Verb| subject::discovery(verb.token(), &instance.name, &instance.id);
    Verb::ALL.into_iter().flat_map(of).collect()
}

/// Rate limit of answers per verb: 500 a second after a burst of 512. A request is much smaller
/// than its answer, so unlimited answers could be used to flood others; clients that wait for a
/// service query again.
const ANSWERS: Pace = Pace {
    interval: Some(Duration::from_millis(2)),
    burst: 512,
};

/// The rate limits of all verbs.
#[derive(Debug, Default)]
struct Budgets([Bucket; Verb::ALL.len()]);

impl Budgets {
    /// Returns whether a request is answered now.
    fn take(&mut self, verb: Verb, now: Instant) -> bool {
        self.0[verb as usize].take(&ANSWERS, now)
    }
}

/// Subscribes to all discovery subjects, and returns the task that answers on them until the
/// instance drains.
pub(crate) async fn responder(
    instance: &Arc<Instance>,
    client: &async_nats::Client,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut requests = stream::SelectAll::new();
    for verb in Verb::ALL {
        for subject in subject::discovery(verb.token(), &instance.name, &instance.id) {
            let subscriber: Subscriber =
                crate::nats::server::subscribe(client, subject, None).await?;
            requests.push(subscriber.map(move |message| (verb, message)));
        }
    }
    let (instance, client) = (Arc::clone(instance), client.clone());
    let mut budgets = Budgets::default();
    Ok(async move {
        let draining = instance.lifecycle.draining.clone();
        while let Some(Some((verb, message))) = draining.run_until_cancelled(requests.next()).await
        {
            if !budgets.take(verb, Instant::now()) {
                log_limited!(
                    warn,
                    ?verb,
                    "discovery requests exceed the rate limit and are \
                                           dropped"
                );
                continue;
            }
            answer(&instance, &client, verb, message).await;
        }
    })
}

async fn answer(instance: &Instance, client: &async_nats::Client, verb: Verb, message: Message) {
    let Some(reply) = message.reply else {
        log_limited!(
            debug, subject = %Escaped::new(&message.subject),
            "discovery request without a reply subject"
        );
        return;
    };
    if !reply_subject::admits("a discovery request", &reply) {
        return;
    }
    let body = match instance.describe(verb, client.max_payload()) {
        Ok(body) => body,
        Err(error) => {
            log_limited!(error, %error, ?verb, "cannot encode a discovery answer");
            return;
        }
    };
    // Waits while the connection is stuck, which delays only discovery.
    if let Err(error) = client.publish(reply, body.into()).await {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded if UNSENT.pass().is_some() => {
                log_limited!(warn, %error, ?verb, "cannot send a discovery answer");
            }
            _ => tracing::debug!(%error, ?verb, "cannot send a discovery answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{MethodSpec, ServiceSpec, Status};
    use nmfw_core::service::{
        handler::Handlers, health::Checks, instance::Lifecycle, service::Service,
    };

    #[test]
    fn a_flood_of_one_verb_leaves_the_others_their_answers() {
        let (mut budgets, now) = (Budgets::default(), Instant::now());
        let mut answered = |verb, now| (0..5000).filter(|_| budgets.take(verb, now)).count();
        assert_eq!(answered(Verb::Stats, now), 512);
        assert_eq!(answered(Verb::Info, now), 512);
        let later = now + Duration::from_secs(1);
        assert_eq!(answered(Verb::Stats, later), 500);
    }

    static SPEC: ServiceSpec = ServiceSpec::new("calc", "Calc")
        .with_name("calc")
        .with_subject("nmfw.calc")
        .with_description("Adds, and does more with numbers.")
        .with_metadata(&[("team", "numbers")])
        .with_methods(&[
            MethodSpec::unary("Average").with_metadata(&[("speed", "slow")]),
            MethodSpec::unary("Add"),
            MethodSpec::unary("Expression"),
        ]);

    fn instance() -> Instance {
        let service = Service::new(&SPEC, Handlers::default())
            .version(format!("1.2.3-rc.1+{}", "build".repeat(20)));
        let lifecycle = Lifecycle::new(Checks::default());
        let instance = Instance::new(service, lifecycle).unwrap();
        let status = Status::internal("x".repeat(400));
        for endpoint in &instance.endpoints {
            endpoint.stats.record(Err(&status), Duration::ZERO);
        }
        instance
    }

    fn describe(instance: &Instance, verb: Verb, max_payload: usize) -> (usize, Value) {
        let answer = instance.describe(verb, max_payload).unwrap();
        (answer.len(), serde_json::from_slice(&answer).unwrap())
    }

    #[test]
    fn an_answer_says_as_much_as_fits() {
        let instance = instance();
        for verb in Verb::ALL {
            let (whole, _) = describe(&instance, verb, usize::MAX);
            let mut shown = 0;
            for max_payload in 256..=whole {
                let (len, answer) = describe(&instance, verb, max_payload);
                assert!(len <= max_payload, "{verb:?}: {answer}");
                for field in ["type", "name", "id", "version"] {
                    assert!(!answer[field].as_str().unwrap().is_empty(), "{answer}");
                }
                let version = answer["version"].as_str().unwrap();
                assert!(semver::Version::parse(version).is_ok());
                assert!(answer["metadata"].is_object());
                if matches!(verb, Verb::Ping) {
                    continue;
                }
                let endpoints = answer["endpoints"].as_array().unwrap();
                assert!(
                    endpoints.len() >= shown,
                    "an answer has fewer endpoints although its limit is larger"
                );
                shown = endpoints.len();
                for endpoint in endpoints {
                    assert!(
                        endpoint["subject"]
                            .as_str()
                            .unwrap()
                            .starts_with("nmfw.calc.")
                    );
                    match verb {
                        Verb::Stats => assert!(
                            endpoint["data"].is_object() && endpoint["last_error"].is_string()
                        ),
                        _ => assert!(endpoint["metadata"].is_object()),
                    }
                }
            }
            let (_, answer) = describe(&instance, verb, whole);
            assert_eq!(answer["metadata"]["team"], "numbers");
            assert!(matches!(verb, Verb::Ping) || shown == 3);
        }
        // A service is found by a single endpoint.
        let (_, answer) = describe(&instance, Verb::Info, 256);
        assert_eq!(answer["endpoints"].as_array().unwrap().len(), 1);
    }
}
