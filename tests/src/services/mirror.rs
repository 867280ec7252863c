//! A service with two methods that returns the caller's messages and metadata, in the same order.
//! Its facts are set at run time, so that tests can try any.

use std::sync::Arc;

use futures_util::stream;
use nmfw::{
    Channel, Connection, Context, Metadata, NatsChannel as _, Status, Stream, Streaming,
    client::Call,
    codegen::v1::{self, MethodSpec, ServiceBuilder, ServiceSpec},
    server::Service,
};

/// The methods of every such service.
pub const METHODS: &[MethodSpec] = &[
    MethodSpec::unary("Echo"),
    MethodSpec::server_streaming("Count"),
];

/// A service with only its methods.
pub static SPEC: ServiceSpec = ServiceSpec::new("mirror", "Mirror")
    .with_name("mirror")
    .with_subject("nmfw.mirror")
    .with_methods(METHODS);

/// The request that makes the service return an error.
pub const FAIL: &str = "fail";

/// The prefix of a request that makes the service return this many values of metadata.
pub const MANY: &str = "many ";

#[derive(Debug)]
struct Mirror;

fn reflect(ctx: &Context, request: &str) -> Result<(), Status> {
    let mut metadata = ctx.metadata().clone();
    if let Some(count) = request.strip_prefix(MANY) {
        let count: usize = count
            .parse()
            .map_err(|_| Status::invalid_argument("many?"))?;
        for i in 0..count {
            let mut one = Metadata::new();
            one.append(format!("m{i}"), "x")?;
            metadata.merge(&one);
        }
    }
    ctx.update_response_metadata(|response| *response = metadata);
    match request {
        FAIL => Err(Status::aborted("as requested")),
        _ => Ok(()),
    }
}

impl Mirror {
    async fn echo(&self, ctx: Context, request: String) -> Result<String, Status> {
        reflect(&ctx, &request)?;
        Ok(request)
    }

    async fn count(
        &self,
        ctx: Context,
        request: String,
    ) -> Result<impl Stream<Item = Result<String, Status>> + Send + 'static, Status> {
        reflect(&ctx, &request)?;
        ctx.update_trailers(|trailers| trailers.clone_from(ctx.metadata()));
        Ok(stream::iter([Ok(request)]))
    }
}

/// Creates the service with these facts, whose methods are [`METHODS`].
pub fn service(spec: &'static ServiceSpec) -> Service {
    ServiceBuilder::new(spec, Arc::new(Mirror))
        .unary(spec.method(0), Mirror::echo)
        .server_streaming(spec.method(1), Mirror::count)
        .build()
}

/// Calls the service.
#[derive(Clone, Debug)]
pub struct Client {
    client: v1::Client,
    spec: &'static ServiceSpec,
}

impl Client {
    /// Calls over a channel.
    #[must_use]
    pub fn new(channel: Channel, spec: &'static ServiceSpec) -> Self {
        let client = v1::Client::new(channel);
        Self { client, spec }
    }

    /// Creates one client for each path of a call: base mode, a session, and the same process. The
    /// session is open.
    ///
    /// # Errors
    ///
    /// Fails if no session opens.
    pub async fn all(
        nats: &Connection,
        spec: &'static ServiceSpec,
    ) -> Result<[(&'static str, Self); 3], Status> {
        let multiplexed = Self::new(Channel::new(nats).multiplexed(), spec);
        multiplexed.count("open", &Metadata::new()).await?;
        Ok([
            ("base mode", Self::new(Channel::new(nats), spec)),
            ("session", multiplexed),
            ("local", Self::new(Channel::local(service(spec)), spec)),
        ])
    }

    /// Calls the unary method.
    pub fn echo(&self, text: &str) -> Call<String> {
        self.client.unary(self.spec.method(0), text.to_owned())
    }

    /// Calls the streaming method to its end, and returns the metadata sent before and after the
    /// messages.
    ///
    /// # Errors
    ///
    /// Returns the errors of the call.
    pub async fn count(
        &self,
        text: &str,
        metadata: &Metadata,
    ) -> Result<(Metadata, Metadata), Status> {
        let call: Call<Streaming<String>> = self
            .client
            .server_streaming(self.spec.method(1), text.to_owned());
        let mut answers = call.merge_metadata(metadata).await?;
        while answers.message().await?.is_some() {}
        Ok((answers.metadata().clone(), answers.trailers().clone()))
    }
}
