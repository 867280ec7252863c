//! ADR-32 discovery: PING, INFO and STATS of an instance.
//!
//! Clients check these answers against a schema, and some give up on a whole listing over one that
//! does not fit: every field is there, lists and maps are never null, and times have at most six
//! digits after the point.

use std::{collections::BTreeMap, sync::Arc};

use async_nats::{Message, Subscriber};
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{
    health::Health,
    instance::{Endpoint, Instance},
};
use crate::{Error, subject};

const QUEUE_GROUP_OF_NONE: &str = "";

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

/// What all three answers begin with.
#[derive(Serialize)]
struct Identity<'a> {
    r#type: &'static str,
    name: &'a str,
    id: &'a str,
    version: &'a str,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    identity: Identity<'a>,
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
    identity: Identity<'a>,
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
    /// In nanoseconds, as the next.
    processing_time: u64,
    average_processing_time: u64,
    /// Free to use by ADR-32; some clients want it to be there.
    data: EndpointData<'a>,
}

#[derive(Serialize)]
struct EndpointData<'a> {
    running: usize,
    waiting: usize,
    concurrency: usize,
    queue: usize,
    health: &'a Health,
}

impl Instance {
    /// The answer to a verb, as JSON.
    pub(crate) fn describe(&self, verb: Verb) -> Result<Vec<u8>, serde_json::Error> {
        match verb {
            Verb::Ping => serde_json::to_vec(&self.identity("io.nats.micro.v1.ping_response")),
            Verb::Info => serde_json::to_vec(&Info {
                identity: Identity {
                    metadata: &self.metadata_with_health(),
                    ..self.identity("io.nats.micro.v1.info_response")
                },
                description: &self.description,
                endpoints: self.endpoints.iter().map(|e| e.info()).collect(),
            }),
            Verb::Stats => {
                let health = self.health();
                let endpoints = self.endpoints.iter();
                serde_json::to_vec(&Stats {
                    identity: self.identity("io.nats.micro.v1.stats_response"),
                    started: &self.started,
                    endpoints: endpoints.map(|e| e.stats(&health)).collect(),
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

    fn identity(&self, r#type: &'static str) -> Identity<'_> {
        Identity {
            r#type,
            name: &self.name,
            id: &self.id,
            version: &self.version,
            metadata: &self.metadata,
        }
    }
}

impl Endpoint {
    fn info(&self) -> EndpointInfo<'_> {
        let facts = self.method.facts().iter();
        let mut metadata: BTreeMap<_, _> = facts
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        metadata.insert("nmfw.method", self.method.full_name());
        EndpointInfo {
            name: self.method.name(),
            subject: &self.subject,
            queue_group: self.queue_group(),
            metadata,
        }
    }

    fn stats<'a>(&'a self, health: &'a Health) -> EndpointStats<'a> {
        let stats = self.stats.snapshot();
        let nanos = u64::try_from(stats.processing.as_nanos()).unwrap_or(u64::MAX);
        EndpointStats {
            name: self.method.name(),
            subject: &self.subject,
            queue_group: self.queue_group(),
            num_requests: stats.requests,
            num_errors: stats.errors,
            last_error: stats.last_error,
            processing_time: nanos,
            average_processing_time: nanos.checked_div(stats.requests).unwrap_or(0),
            data: EndpointData {
                health,
                running: self.admission.running(),
                waiting: self.admission.waiting(),
                concurrency: self.limits.concurrency,
                queue: self.limits.queue,
            },
        }
    }

    fn queue_group(&self) -> &str {
        self.limits
            .queue_group
            .as_deref()
            .unwrap_or(QUEUE_GROUP_OF_NONE)
    }
}

/// The subjects on which an instance answers.
pub(crate) fn subjects(instance: &Instance) -> Vec<String> {
    let of = |verb: Verb| subject::discovery(verb.token(), &instance.name, &instance.id);
    Verb::ALL.into_iter().flat_map(of).collect()
}

/// Subscribes to all of discovery's subjects, and gives the task that answers on them until the
/// instance drains.
pub(crate) async fn responder(
    instance: &Arc<Instance>,
    client: &async_nats::Client,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut requests = stream::SelectAll::new();
    for verb in Verb::ALL {
        for subject in subject::discovery(verb.token(), &instance.name, &instance.id) {
            let subscriber: Subscriber = super::subscribe(client, subject, None).await?;
            requests.push(subscriber.map(move |message| (verb, message)));
        }
    }
    let (instance, client) = (Arc::clone(instance), client.clone());
    Ok(async move {
        let draining = instance.lifecycle.draining.clone();
        while let Some(Some((verb, message))) = draining.run_until_cancelled(requests.next()).await
        {
            answer(&instance, &client, verb, message).await;
        }
    })
}

async fn answer(instance: &Instance, client: &async_nats::Client, verb: Verb, message: Message) {
    let Some(reply) = message.reply else {
        tracing::debug!(subject = %message.subject, "discovery request without a reply subject");
        return;
    };
    let body = match instance.describe(verb) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, ?verb, "discovery answer cannot be written");
            return;
        }
    };
    // Waits while the connection is stuck, which holds up discovery and nothing else.
    if let Err(error) = client.publish(reply, body.into()).await {
        tracing::debug!(%error, ?verb, "discovery answer not sent");
    }
}
