//! A puppet that passes its calls on to another: for chains of calls.

use nmfw::{Channel, Connection, Context, NatsChannel as _, Server, Status, server::Running};

use crate::puppet::{Blob, FailRequest, Puppet, PuppetClient, PuppetServer, Seen, SleepRequest};

/// The subject of relays; [`relayed`] creates a channel to it.
const SUBJECT: &str = "relay";

/// The implementation.
#[derive(Clone, Debug)]
pub struct Relay {
    next: PuppetClient,
}

impl Relay {
    /// Creates a relay that calls the puppet on this channel.
    #[must_use]
    pub fn new(next: impl Into<Channel>) -> Self {
        Self {
            next: PuppetClient::new(next),
        }
    }

    /// Serves it on its own connection.
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

/// Creates a channel to relays.
pub fn relayed(nats: impl Into<Connection>) -> Channel {
    Channel::new(nats.into()).subject(SUBJECT)
}

/// Returns the subject of a method of relays.
#[must_use]
pub fn relay_subject(method: &str) -> String {
    format!("{SUBJECT}.{method}")
}

impl Puppet for Relay {
    async fn echo(&self, _ctx: Context, request: Blob) -> Result<Blob, Status> {
        // The usual way for a handler to call; the other methods set the context explicitly.
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
        // In a task, which is outside the handler's span.
        let call = self.next.inspect(()).context(&ctx);
        let task = tokio::spawn(async move { call.await });
        let ended = |error: tokio::task::JoinError| Status::internal(error.to_string());
        task.await.map_err(ended)?
    }
}
