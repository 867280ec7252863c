//! Endpoints that instances have beside their methods, for plain requests: one subject for any
//! instance of the service, in its queue group, and one for each instance.

use std::sync::Arc;

use async_nats::Message;
use futures_util::{StreamExt, stream};

use crate::{
    Error,
    nats::{reply_subject, subject},
};
use nmfw_core::{escape::Escaped, service::instance::Instance};

/// The answers of an endpoint.
pub(crate) trait InstanceEndpoint: Send + 'static {
    /// The last token of the instance's subject; with a leading `_`, that of the service's.
    const NAME: &'static str;
    /// A request in log messages.
    const REQUEST: &'static str;

    /// Returns the answer to a request, or `None` for a request that gets none.
    fn answer(
        &mut self,
        instance: &Instance,
        request: &[u8],
        max_payload: usize,
    ) -> Option<Vec<u8>>;
}

/// Subscribes, and returns the task that answers until the server drains.
pub(crate) async fn responder<E: InstanceEndpoint>(
    instance: &Arc<Instance>,
    client: &async_nats::Client,
    mut endpoint: E,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let of_service = subject::any_instance(&instance.base, E::NAME);
    let of_instance = subject::instance(&instance.base, &instance.id, E::NAME);
    let group = instance.queue_group.clone();
    let mut requests = stream::SelectAll::new();
    for (subject, group) in [(of_service, group), (of_instance, None)] {
        requests.push(super::subscribe(client, subject, group).await?);
    }
    let (instance, client) = (Arc::clone(instance), client.clone());
    Ok(async move {
        let draining = Arc::clone(&instance.lifecycle.draining);
        while let Some(Some(message)) = draining.run_until_cancelled(requests.next()).await {
            answer(&instance, &client, &mut endpoint, message).await;
        }
    })
}

async fn answer<E: InstanceEndpoint>(
    instance: &Instance,
    client: &async_nats::Client,
    endpoint: &mut E,
    message: Message,
) {
    let Some(reply) = message.reply else {
        log_limited!(
            debug, subject = %Escaped::new(&message.subject),
            "{} without a reply subject", E::REQUEST
        );
        return;
    };
    if !reply_subject::admits(E::REQUEST, &reply) {
        return;
    }
    let max_payload = client.max_payload();
    let Some(response) = endpoint.answer(instance, &message.payload, max_payload) else {
        return;
    };
    // Waits while the connection is stuck, which delays only requests of this kind.
    if let Err(error) = client.publish(reply, response.into()).await {
        log_limited!(debug, %error, "cannot answer {}", E::REQUEST);
    }
}
