//! A puppet that has another one do what it is told: for chains of calls.

use nmfw::{Channel, Connection, Context, NatsChannel as _, Server, Status, server::Running};

use crate::puppet::{Blob, FailRequest, Puppet, PuppetClient, PuppetServer, Seen, SleepRequest};

/// Where relays are served: [`relayed`] takes a channel there.
const SUBJECT: &str = "relay";

/// The implementation.
#[derive(Clone, Debug)]
pub struct Relay {
    next: PuppetClient,
}

impl Relay {
    /// One that calls the puppet on this channel.
    #[must_use]
    pub fn new(next: impl Into<Channel>) -> Self {
        Self {
            next: PuppetClient::new(next),
        }
    }

    /// Serves it on a connection of its own.
    ///
    /// # Errors
    ///
    /// Fails if connecting or starting fails.
    pub async fn serve(self, url: &str) -> Result<Running, nmfw::Error> {
        let nats = nmfw::connect(url).await?;
        let service = PuppetServer::new(self).subject(SUBJECT).name("relay");
        Server::new(nats).add_service(service).start().await
    }
}

/// A channel to relays.
pub fn relayed(nats: impl Into<Connection>) -> Channel {
    Channel::new(nats.into()).subject(SUBJECT)
}

/// The subject of a method of relays.
#[must_use]
pub fn relay_subject(method: &str) -> String {
    format!("{SUBJECT}.{method}")
}

impl Puppet for Relay {
    async fn echo(&self, _ctx: Context, request: Blob) -> Result<Blob, Status> {
        // As a handler is wont to call; the others say on whose behalf.
        self.next.echo(request).await
    }

    async fn sleep(&self, ctx: Context, request: SleepRequest) -> Result<Blob, Status> {
        self.next.sleep(request).context(&ctx).await
    }

    async fn fail(&self, ctx: Context, request: FailRequest) -> Result<(), Status> {
        self.next.fail(request).context(&ctx).await
    }

    async fn panic(&self, ctx: Context, (): ()) -> Result<(), Status> {
        self.next.panic(()).context(&ctx).await
    }

    async fn inspect(&self, ctx: Context, (): ()) -> Result<Seen, Status> {
        // In a task, which is not in the handler's span.
        let call = self.next.inspect(()).context(&ctx);
        let task = tokio::spawn(async move { call.await });
        let ended = |error: tokio::task::JoinError| Status::internal(error.to_string());
        task.await.map_err(ended)?
    }
}
