//! gRPC by tonic, without a broker: one HTTP/2 connection over loopback, with default settings.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use nmfw_tests::{Failure, failure::Doing};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Server},
};

use super::{Client, Held, How, METADATA, NAP, TIMEOUT, text};
use crate::meter::Over;

use self::generated::{
    DownloadRequest, Payload, Total,
    bench_client::BenchClient,
    bench_server::{Bench, BenchServer},
};

#[allow(
    clippy::all,
    unused_qualifications,
    unreachable_pub,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tonic/nmfw.bench.rs"));
}

#[derive(Debug)]
struct Echo;

#[tonic::async_trait]
impl Bench for Echo {
    async fn echo(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn sleep(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        tokio::time::sleep(NAP).await;
        Ok(Response::new(request.into_inner()))
    }

    type DownloadStream = BoxStream<'static, Result<Payload, Status>>;

    async fn download(
        &self,
        request: Request<DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let body = Bytes::from(vec![7; request.into_inner().size as usize]);
        let messages = stream::repeat_with(move || Ok(Payload { body: body.clone() }));
        Ok(Response::new(messages.boxed()))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Total>, Status> {
        let mut requests = request.into_inner();
        let mut count = 0;
        while requests.message().await?.is_some() {
            count += 1;
        }
        Ok(Response::new(Total { count }))
    }

    type ChatStream = Streaming<Payload>;

    async fn chat(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

pub(super) async fn serve() -> Result<(Held, String), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.doing("listen")?;
    let address = listener.local_addr().doing("read the address")?;
    let server = Server::builder().add_service(BenchServer::new(Echo));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // Like tonic's own listener.
        let connections = TcpListenerStream::new(listener).inspect(|connection| {
            if let Ok(connection) = connection {
                connection.set_nodelay(true).ok();
            }
        });
        server.serve_with_incoming(connections).await.ok();
    });
    Ok((Box::new(tasks), format!("http://{address}")))
}

#[derive(Clone, Debug)]
pub(crate) struct TonicClient(BenchClient<Channel>);

impl Client for TonicClient {
    async fn connect(address: &str) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(address.to_owned()).doing("read the address")?;
        let channel = endpoint.connect().await.doing("connect")?;
        Ok(Self(BenchClient::new(channel)))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        let mut request = Request::new(Payload { body });
        match how {
            How::Plain | How::Sleep => {}
            How::Deadline => request.set_timeout(TIMEOUT),
            How::Metadata => {
                for (key, value) in METADATA {
                    let value = MetadataValue::from_static(value);
                    request.metadata_mut().insert(key, value);
                }
            }
        }
        // Callers share a connection by cloning the client, because calls take `&mut self`.
        let mut client = self.0.clone();
        let answer = if how == How::Sleep {
            client.sleep(request).await
        } else {
            client.echo(request).await
        };
        answer.map(|answer| answer.into_inner().body).map_err(text)
    }

    async fn download(&self, size: usize, over: Over) -> Result<u64, String> {
        let size = u32::try_from(size).map_err(text)?;
        let answer = self.0.clone().download(DownloadRequest { size }).await;
        let mut answers = answer.map_err(text)?.into_inner();
        let mut count = 0;
        while !over.is_over() {
            answers.message().await.map_err(text)?.ok_or("it ended")?;
            count += 1;
        }
        Ok(count)
    }

    async fn upload(&self, body: Bytes, over: Over) -> Result<u64, String> {
        let answer = self.0.clone().upload(messages(body, over)).await;
        Ok(answer.map_err(text)?.into_inner().count)
    }

    async fn chat(&self, body: Bytes, over: Over) -> Result<u64, String> {
        let asked = messages(body, over.clone());
        let answer = self.0.clone().chat(asked).await;
        let mut answers = answer.map_err(text)?.into_inner();
        let mut count = 0;
        while !over.is_over() && answers.message().await.map_err(text)?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    async fn idle_stream(&self) -> Result<Held, String> {
        let silent = stream::pending::<Payload>();
        let answer = self.0.clone().chat(silent).await;
        Ok(Box::new(answer.map_err(text)?))
    }
}

fn messages(body: Bytes, over: Over) -> impl tokio_stream::Stream<Item = Payload> + Send + 'static {
    stream::iter(std::iter::from_fn(move || {
        (!over.is_over()).then(|| Payload { body: body.clone() })
    }))
}
