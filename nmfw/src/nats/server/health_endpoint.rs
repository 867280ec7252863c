//! The `_health` endpoint: `grpc.health.v1` over NATS.

use std::sync::Arc;

use async_nats::Message;
use futures_util::{StreamExt, stream};
use prost::Message as _;

use crate::{
    Error,
    nats::{reply_subject, subject},
};
use nmfw_core::{
    escape::Escaped,
    service::{health::Serving, instance::Instance},
};

/// The message of `grpc.health.v1`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl From<Serving> for HealthCheckResponse {
    fn from(serving: Serving) -> Self {
        // Numbered as in `ServingStatus`; 0 is UNKNOWN.
        let status = match serving {
            Serving::Serving => 1,
            _ => 2,
        };
        Self { status }
    }
}

/// Subscribes, and returns the task that answers until the server drains: for the service, by one
/// of its instances, and for this instance.
pub(crate) async fn responder(
    instance: &Arc<Instance>,
    client: &async_nats::Client,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let of_service = subject::health(&instance.base);
    let of_instance = subject::instance(&instance.base, &instance.id, "health");
    let group = instance.queue_group.clone();
    let mut requests = stream::SelectAll::new();
    for (subject, group) in [(of_service, group), (of_instance, None)] {
        requests.push(crate::nats::server::subscribe(client, subject, group).await?);
    }
    let (instance, client) = (Arc::clone(instance), client.clone());
    Ok(async move {
        let draining = Arc::clone(&instance.lifecycle.draining);
        while let Some(Some(message)) = draining.run_until_cancelled(requests.next()).await {
            answer(&instance, &client, message).await;
        }
    })
}

async fn answer(instance: &Instance, client: &async_nats::Client, message: Message) {
    let Some(reply) = message.reply else {
        log_limited!(
            debug, subject = %Escaped::new(&message.subject),
            "health request without a reply subject"
        );
        return;
    };
    if !reply_subject::admits("a health request", &reply) {
        return;
    }
    let response = HealthCheckResponse::from(instance.health().status);
    // Waits while the connection is stuck, which delays only health checks.
    if let Err(error) = client.publish(reply, response.encode_to_vec().into()).await {
        log_limited!(debug, %error, "cannot send a health answer");
    }
}
