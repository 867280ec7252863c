//! nmfw over NATS, in both modes.

use bytes::Bytes;
use futures_util::stream;
use nmfw::{
    Channel, Context, NatsChannel as _, Server, Status, Stream, Streaming, server::Service,
};
use nmfw_tests::{Failure, failure::Doing};

use super::{Client, Held, How, METADATA, NAP, TIMEOUT, subject, text, wide};
use crate::{meter::Over, peer::Peer, setup::Many};

pub(super) use self::generated::{Bench, BenchClient};
use self::generated::{BenchServer, DownloadRequest, Payload, Total};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/nmfw/nmfw.bench.rs"));
}

/// The served implementation, also used without NATS.
#[derive(Debug)]
pub(super) struct Echo;

impl Bench for Echo {
    async fn echo(&self, _ctx: Context, request: Payload) -> Result<Payload, Status> {
        Ok(request)
    }

    async fn sleep(&self, _ctx: Context, request: Payload) -> Result<Payload, Status> {
        tokio::time::sleep(NAP).await;
        Ok(request)
    }

    async fn download(
        &self,
        _ctx: Context,
        request: DownloadRequest,
    ) -> Result<impl Stream<Item = Result<Payload, Status>> + Send + 'static, Status> {
        let body = Bytes::from(vec![7; request.size as usize]);
        Ok(stream::repeat_with(move || {
            Ok(Payload { body: body.clone() })
        }))
    }

    async fn upload(
        &self,
        _ctx: Context,
        mut requests: Streaming<Payload>,
    ) -> Result<Total, Status> {
        let mut count = 0;
        while requests.message().await?.is_some() {
            count += 1;
        }
        Ok(Total { count })
    }

    async fn chat(
        &self,
        _ctx: Context,
        requests: Streaming<Payload>,
    ) -> Result<impl Stream<Item = Result<Payload, Status>> + Send + 'static, Status> {
        Ok(requests)
    }
}

pub(super) async fn serve(
    peer: Peer,
    url: &str,
    many: Option<(Many, usize)>,
) -> Result<(Held, String), Failure> {
    let nats = nmfw::connect(url).await.doing("connect")?;
    let server = services(peer, many)
        .into_iter()
        .fold(Server::new(nats), Server::add_service);
    let running = server.start().await.doing("serve")?;
    Ok((Box::new(running), url.to_owned()))
}

/// Returns the services. Clients call the first one.
fn services(peer: Peer, many: Option<(Many, usize)>) -> Vec<Service> {
    let echo = || BenchServer::new(Echo).subject(subject(peer));
    match many {
        Some((Many::Services, count)) => {
            let others = (1..count).map(|number| {
                let name = format!("bench-{number}");
                BenchServer::new(Echo)
                    .subject(format!("{}.{number}", subject(peer)))
                    .name(name)
            });
            std::iter::once(echo()).chain(others).collect()
        }
        Some((Many::Instances, count)) => (0..count).map(|_| echo()).collect(),
        Some((Many::Methods, count)) => vec![wide::service(count).subject(subject(peer))],
        Some((Many::Sessions, _)) | None => vec![echo()],
    }
}

/// A client whose calls share a session.
#[derive(Clone, Debug)]
pub(crate) struct MultiplexedClient(BenchClient);

/// A client in base mode.
#[derive(Clone, Debug)]
pub(crate) struct BaseClient(BenchClient);

async fn channel(url: &str, peer: Peer) -> Result<Channel, Failure> {
    let nats = nmfw::connect(url).await.doing("connect")?;
    Ok(Channel::new(nats).subject(subject(peer)))
}

impl Client for MultiplexedClient {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let channel = channel(url, Peer::Nmfw).await?.multiplexed();
        Ok(Self(BenchClient::new(channel)))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        unary(&self.0, how, body).await
    }

    async fn download(&self, size: usize, over: Over) -> Result<u64, String> {
        let size = u32::try_from(size).map_err(text)?;
        let request = DownloadRequest { size };
        let mut answers = self.0.download(request).await.map_err(text)?;
        let mut count = 0;
        while !over.is_over() {
            answers.message().await.map_err(text)?.ok_or("it ended")?;
            count += 1;
        }
        Ok(count)
    }

    async fn upload(&self, body: Bytes, over: Over) -> Result<u64, String> {
        let total = self.0.upload(messages(body, over)).await.map_err(text)?;
        Ok(total.count)
    }

    async fn chat(&self, body: Bytes, over: Over) -> Result<u64, String> {
        let asked = messages(body, over.clone());
        let mut answers = self.0.chat(asked).await.map_err(text)?;
        let mut count = 0;
        while !over.is_over() && answers.message().await.map_err(text)?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    async fn idle_stream(&self) -> Result<Held, String> {
        let silent = stream::pending::<Payload>();
        Ok(Box::new(self.0.chat(silent).await.map_err(text)?))
    }
}

impl Client for BaseClient {
    async fn connect(url: &str) -> Result<Self, Failure> {
        Ok(Self(BenchClient::new(channel(url, Peer::NmfwBase).await?)))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        unary(&self.0, how, body).await
    }
}

pub(super) async fn unary(client: &BenchClient, how: How, body: Bytes) -> Result<Bytes, String> {
    let request = Payload { body };
    let call = match how {
        How::Plain => client.echo(request),
        How::Sleep => client.sleep(request),
        How::Deadline => client.echo(request).timeout(TIMEOUT),
        How::Metadata => METADATA
            .iter()
            .fold(client.echo(request), |call, (key, value)| {
                call.metadata(key, *value)
            }),
    };
    call.await.map(|answer| answer.body).map_err(text)
}

fn messages(body: Bytes, over: Over) -> impl Stream<Item = Payload> + Send + 'static {
    stream::iter(std::iter::from_fn(move || {
        (!over.is_over()).then(|| Payload { body: body.clone() })
    }))
}
