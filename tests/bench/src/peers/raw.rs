//! async-nats by itself: request and reply, answered from a plain loop over a subscription.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use nmfw_tests::{Failure, failure::Doing, round_trip};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinSet;

use super::{Client, Held, How, METADATA, NAP, TIMEOUT, flood, subject, text};
use crate::{meter::Over, peer::Peer};

pub(super) async fn serve(peer: Peer, url: &str) -> Result<(Held, String), Failure> {
    let nats = async_nats::connect(url).await.doing("connect")?;
    let subject = subject(peer);
    let mut tasks = JoinSet::new();

    let mut requests = subscribe(&nats, &subject, "echo").await?;
    let client = nats.clone();
    tasks.spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                client.publish(reply, request.payload).await.ok();
            }
        }
    });

    let mut requests = subscribe(&nats, &subject, "sleep").await?;
    let client = nats.clone();
    tasks.spawn(async move {
        while let Some(request) = requests.next().await {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(NAP).await;
                if let Some(reply) = request.reply {
                    client.publish(reply, request.payload).await.ok();
                }
            });
        }
    });

    let downloads = subscribe(&nats, &subject, "download").await?;
    tasks.spawn(flood::serve_downloads(nats.clone(), downloads));
    let uploads = subscribe(&nats, &subject, "upload").await?;
    tasks.spawn(flood::serve_uploads(nats.clone(), uploads));

    round_trip(&nats, Duration::from_secs(10)).await?;
    Ok((Box::new(tasks), url.to_owned()))
}

async fn subscribe(
    nats: &async_nats::Client,
    subject: &str,
    method: &str,
) -> Result<async_nats::Subscriber, Failure> {
    nats.queue_subscribe(format!("{subject}.{method}"), "q".to_owned())
        .await
        .doing("subscribe")
}

/// Requests without headers.
#[derive(Clone, Debug)]
pub(crate) struct RawClient(async_nats::Client);

impl Client for RawClient {
    async fn connect(url: &str) -> Result<Self, Failure> {
        Ok(Self(async_nats::connect(url).await.doing("connect")?))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        let answer = match how {
            How::Plain => self.0.request("bench.raw.echo", body).await,
            How::Sleep => self.0.request("bench.raw.sleep", body).await,
            How::Deadline => {
                let request = async_nats::Request::new()
                    .payload(body)
                    .timeout(Some(TIMEOUT));
                self.0.send_request("bench.raw.echo", request).await
            }
            How::Metadata => {
                let mut headers = HeaderMap::new();
                append_metadata(&mut headers);
                self.0
                    .request_with_headers("bench.raw.echo", headers, body)
                    .await
            }
        };
        Ok(answer.map_err(text)?.payload)
    }

    async fn download(&self, size: usize, over: Over) -> Result<u64, String> {
        flood::download(&self.0, "bench.raw.download", size, over)
            .await
            .map_err(text)
    }

    async fn upload(&self, body: Bytes, over: Over) -> Result<u64, String> {
        flood::upload(&self.0, "bench.raw.upload", body, over)
            .await
            .map_err(text)
    }
}

/// Requests with the headers that nmfw sends in base mode.
#[derive(Clone, Debug)]
pub(crate) struct HeadersClient {
    nats: async_nats::Client,
    deadline: String,
}

impl HeadersClient {
    /// The deadline is constant, because only the cost of headers is measured.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nmfw", "1;t=5000;v=0.0.1");
        headers.insert("Nmfw-Deadline", self.deadline.as_str());
        headers
    }
}

impl Client for HeadersClient {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let at = OffsetDateTime::from(SystemTime::now()) + Duration::from_secs(5);
        let at = at
            .replace_millisecond(at.millisecond())
            .doing("cut to milliseconds")?;
        Ok(Self {
            nats: async_nats::connect(url).await.doing("connect")?,
            deadline: at.format(&Rfc3339).doing("format a time")?,
        })
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        let mut request = async_nats::Request::new().payload(body);
        let mut headers = self.headers();
        match how {
            How::Plain | How::Sleep => {}
            How::Deadline => request = request.timeout(Some(TIMEOUT)),
            How::Metadata => append_metadata(&mut headers),
        }
        let subject = if how == How::Sleep {
            "bench.raw-headers.sleep"
        } else {
            "bench.raw-headers.echo"
        };
        let answer = self.nats.send_request(subject, request.headers(headers));
        Ok(answer.await.map_err(text)?.payload)
    }
}

fn append_metadata(headers: &mut HeaderMap) {
    for (key, value) in METADATA {
        headers.insert(key, value);
    }
}
