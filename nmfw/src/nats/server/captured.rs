//! Detects, when a server starts, JetStream streams that capture its requests.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use serde::Deserialize;

use crate::{Connection, Error};
use nmfw_core::{error::ErrorKind, service::instance::Instance};

/// The API with which JetStream lists the streams that overlap with a subject.
const STREAM_NAMES: &str = "$JS.API.STREAM.NAMES";

/// Time limit for all queries.
const MAX_LOOK: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct StreamNames {
    /// Missing or null if there are none, or if JetStream is not enabled for this account.
    streams: Option<Vec<String>>,
}

/// Warns about streams that capture subjects of the instances. It queries JetStream only if that is
/// enabled and the server requires no login: a user with limited permissions may not query it, and
/// each attempt would cause an error in the server's log. Clients warn about such a stream in any
/// case.
pub(crate) async fn look(connection: Connection, instances: Vec<Arc<Instance>>) {
    let info = connection.client().try_server_info();
    if info.is_none_or(|info| !info.jetstream || info.auth_required) {
        return;
    }
    let looking = async {
        for instance in &instances {
            look_at(&connection, instance).await?;
        }
        Ok::<_, Error>(())
    };
    match tokio::time::timeout(MAX_LOOK, looking).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "not checking for JetStream streams"),
        Err(_) => tracing::debug!("JetStream did not list its streams in time"),
    }
}

async fn look_at(connection: &Connection, instance: &Instance) -> Result<(), Error> {
    // Usually there are none, which takes one query.
    let all = format!("{}.>", instance.base);
    if streams(connection, &all).await?.is_empty() {
        return Ok(());
    }
    for endpoint in &instance.endpoints {
        let subject = &endpoint.subject;
        for stream in streams(connection, subject).await? {
            tracing::warn!(
                stream,
                "a JetStream stream captures {subject}: it stores every request and acknowledges \
                 it before the service responds, and clients other than nmfw's use the \
                 acknowledgement as the response. Remove the subject from the stream"
            );
        }
    }
    Ok(())
}

/// Returns the streams that overlap with a subject.
async fn streams(connection: &Connection, subject: &str) -> Result<Vec<String>, Error> {
    let client = connection.client();
    let inbox = client.new_inbox();
    let mut answers = crate::nats::server::subscribe(client, inbox.clone(), None).await?;
    let question = serde_json::json!({ "subject": subject }).to_string();
    let asked = client.publish_with_reply(STREAM_NAMES, inbox, question.into());
    let closed =
        |source| Error::new(ErrorKind::Closed, "querying JetStream failed").with_source(source);
    asked.await.map_err(closed)?;
    let answer = answers.next().await;
    let names = answer.and_then(|answer| serde_json::from_slice(&answer.payload).ok());
    let StreamNames { streams } = names.unwrap_or(StreamNames { streams: None });
    Ok(streams.unwrap_or_default())
}
