//! `async_nats::service`, and requests to it.

use std::time::Duration;

use async_nats::{HeaderMap, service::ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use nmfw_tests::{Failure, failure::Doing, round_trip};
use tokio::task::JoinSet;

use super::{Client, Held, How, METADATA, NAP, TIMEOUT, text};

pub(super) async fn serve(url: &str) -> Result<(Held, String), Failure> {
    let nats = async_nats::connect(url).await.doing("connect")?;
    let service = nats
        .service_builder()
        .start("bench", "0.0.1")
        .await
        .doing("start the service")?;
    let group = service.group("bench.async-nats-service");
    let mut tasks = JoinSet::new();

    let mut requests = group.endpoint("echo").await.doing("add an endpoint")?;
    tasks.spawn(async move {
        while let Some(request) = requests.next().await {
            let body = request.message.payload.clone();
            request.respond(Ok(body)).await.ok();
        }
    });

    let mut requests = group.endpoint("sleep").await.doing("add an endpoint")?;
    tasks.spawn(async move {
        while let Some(request) = requests.next().await {
            tokio::spawn(async move {
                tokio::time::sleep(NAP).await;
                let body = request.message.payload.clone();
                request.respond(Ok(body)).await.ok();
            });
        }
    });

    round_trip(&nats, Duration::from_secs(10)).await?;
    Ok((Box::new((service, tasks)), url.to_owned()))
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceClient(async_nats::Client);

impl Client for ServiceClient {
    async fn connect(url: &str) -> Result<Self, Failure> {
        Ok(Self(async_nats::connect(url).await.doing("connect")?))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        let mut request = async_nats::Request::new().payload(body);
        match how {
            How::Plain | How::Sleep => {}
            How::Deadline => request = request.timeout(Some(TIMEOUT)),
            How::Metadata => {
                let mut headers = HeaderMap::new();
                for (key, value) in METADATA {
                    headers.insert(key, value);
                }
                request = request.headers(headers);
            }
        }
        let subject = if how == How::Sleep {
            "bench.async-nats-service.sleep"
        } else {
            "bench.async-nats-service.echo"
        };
        let answer = self.0.send_request(subject, request).await;
        Ok(answer.map_err(text)?.payload)
    }
}
