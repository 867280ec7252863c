//! `nmfw mock`: a service from a .proto and canned answers.

mod answers;
mod fill;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use nmfw::{
    Metadata, Server, ServiceSpec, Status,
    middleware::{Body, Next, Request, Response, from_fn},
    prost_types::FileDescriptorSet,
    server::Service,
};
use nmfw_core::service::handler::Handlers;
use nmfw_schema::{
    Schema,
    prost_reflect::{MethodDescriptor, ServiceDescriptor},
};
use prost::Message;
use serde_json::Value;

use self::answers::{Answers, Call, Case};
use crate::{
    arguments::Global,
    codec::{self, Style},
    connection::connect,
    failure::Failure,
    files,
    output::{
        Output,
        text::{FAINT, NAME, STRONG, peer},
    },
};

/// The most requests of a stream that answers can refer to.
const MAX_REQUESTS: usize = 1_000;

/// Messages are matched and shown with all of their fields.
const STYLE: Style = Style {
    pretty: false,
    defaults: true,
};

/// Serve a .proto with canned answers
///
/// A method without cases answers with all of its fields. The file of answers, YAML or JSON, has for
/// each method a list of cases, of which the first that matches is used:
///
///     Add:
///       - when: {values: [1, 2]}          # these fields of the request
///         answer: {result: 3}
///         delay: 50ms
///         metadata: {served-by: mock}
///       - status: INVALID_ARGUMENT
///         message: "cannot add {{request.values}}"
///     Count:
///       - answers: [{number: 1}, {number: "{{request.to}}"}]
///         every: 100ms
///         status: ABORTED                 # after the answers
///
/// A method that takes and returns streams answers each request; one that takes a stream only has
/// the last request in `request`, and all in `requests`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Mock {
    /// The .proto file, or a descriptor set
    proto: PathBuf,

    /// The answers, in YAML or JSON
    answers: Option<PathBuf>,

    /// A folder in which imports are found; the default is that of the file, and the current one
    #[arg(long = "include", short = 'I', value_name = "FOLDER")]
    includes: Vec<PathBuf>,

    /// Serve only this service of the file, named as in it: calc.Calc
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// The version of the service
    #[arg(long, value_name = "VERSION", default_value = "0.0.0-mock")]
    service_version: String,
}

/// A service with its answers.
struct Mocked {
    service: ServiceDescriptor,
    answers: Answers,
    output: Output,
}

impl Mock {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let schema = files::read(&self.proto, &self.includes)?;
        let services = self.services(&schema)?;
        let answers = match &self.answers {
            Some(path) => Answers::read(path, &services)?,
            None => Answers::default(),
        };
        let nats = connect(global).await?;
        let mut server = Server::new(nats);
        for service in services {
            server = server.add_service(self.mocked(&schema, service, &answers, *output)?);
        }
        let running = server.start().await?;
        for served in running.services() {
            output.note(&format!(
                "{STRONG}serving {} {}{STRONG:#}\n",
                served.name, served.version
            ));
            for subject in &served.subjects {
                output.note(&format!("  {subject}\n"));
            }
        }
        nmfw::shutdown_signal().recv().await;
        running.stop();
        running.join().await?;
        Ok(())
    }

    /// Returns the services of the file, without those of its imports.
    fn services(&self, schema: &Schema) -> Result<Vec<ServiceDescriptor>, Failure> {
        if let Some(name) = &self.service {
            let service = schema.service(name);
            return service.map(|service| vec![service]).ok_or_else(|| {
                Failure::new(format!("{} has no service {name}", self.proto.display()))
            });
        }
        let file = self.proto.to_string_lossy();
        let is_own = |service: &ServiceDescriptor| file.ends_with(service.parent_file().name());
        let all: Vec<_> = schema.services().collect();
        let own: Vec<_> = all
            .iter()
            .filter(|service| is_own(service))
            .cloned()
            .collect();
        match (own.is_empty(), all.is_empty()) {
            (_, true) => Err(Failure::new(format!(
                "{} has no service",
                self.proto.display()
            ))),
            // A descriptor set is not named like its files.
            (true, false) => Ok(all),
            (false, false) => Ok(own),
        }
    }

    fn mocked(
        &self,
        schema: &Schema,
        service: ServiceDescriptor,
        answers: &Answers,
        output: Output,
    ) -> Result<Service, Failure> {
        let name = service.full_name().to_owned();
        let set = FileDescriptorSet::decode(schema.descriptor_set()).unwrap_or_default();
        let spec = ServiceSpec::from_descriptors(&set, &name);
        let spec = spec.ok_or_else(|| Failure::new(format!("{name} cannot be served")))?;
        // Specs live as long as the program, which serves only these.
        let hash = schema.hash().to_owned().leak();
        let spec = spec.with_schema(hash, schema.compressed().to_vec().leak());
        let spec: &'static ServiceSpec = Box::leak(Box::new(spec));
        let mocked = Arc::new(Mocked {
            service,
            answers: answers.clone(),
            output,
        });
        let answer = move |request: Request, _: Next| {
            let mocked = Arc::clone(&mocked);
            async move { mocked.answer(request).await }
        };
        Ok(Service::new(spec, Handlers::default())
            .version(&self.service_version)
            .metadata("mock", "true")
            .layer(from_fn(answer)))
    }
}

impl Mocked {
    async fn answer(self: Arc<Self>, request: Request) -> Result<Response, Status> {
        let name = request.method().name();
        let method = self.service.methods().find(|method| method.name() == name);
        let method = method.ok_or_else(|| Status::unimplemented(format!("no method {name}")))?;
        let (parts, body) = request.into_parts();
        let metadata = parts.metadata().clone();
        let requests = self.clone().requests(method.clone(), body);
        if method.is_client_streaming() && method.is_server_streaming() {
            let answers = requests.flat_map(move |request| match request {
                Ok(request) => {
                    let call = Call::new(vec![request], &metadata);
                    self.clone().answers(method.clone(), call).1
                }
                Err(status) => stream::iter([Err(status)]).boxed(),
            });
            return Ok(Response::with_body(
                Body::from_stream(answers),
                Metadata::new(),
            ));
        }
        let requests: Vec<_> = requests.collect().await;
        let requests = requests.into_iter().collect::<Result<Vec<_>, _>>()?;
        let streams = method.is_server_streaming();
        let (case, mut answers) = self.answers(method, Call::new(requests, &metadata));
        let metadata = case
            .as_deref()
            .map(Case::metadata)
            .transpose()?
            .unwrap_or_default();
        if streams {
            return Ok(Response::with_body(Body::from_stream(answers), metadata));
        }
        let answer = answers
            .next()
            .await
            .ok_or_else(|| Status::internal("the case has no answer: give it one, or a status"))?;
        match answer {
            Ok(answer) => Ok(Response::with_metadata(answer, metadata)),
            Err(mut status) => {
                status.metadata_mut().merge(&metadata);
                Err(status)
            }
        }
    }

    /// Returns the requests of a call as JSON.
    fn requests(
        self: Arc<Self>,
        method: MethodDescriptor,
        body: Body,
    ) -> impl Stream<Item = Result<Value, Status>> + Send + 'static {
        let limit = match method.is_server_streaming() {
            true => usize::MAX,
            false => MAX_REQUESTS,
        };
        body.into_stream().take(limit).map(move |message| {
            let json = codec::from_message(&method.input(), message?, STYLE);
            let json = json.map_err(Status::invalid_argument)?;
            self.log(&method, "<", &json);
            serde_json::from_str(&json).map_err(|error| Status::internal(error.to_string()))
        })
    }

    /// Returns the case for a call, and its encoded answers in time.
    fn answers(
        self: Arc<Self>,
        method: MethodDescriptor,
        call: Call,
    ) -> (
        Option<Arc<Case>>,
        BoxStream<'static, Result<bytes::Bytes, Status>>,
    ) {
        let case = match self.answers.find(&method, &call) {
            Ok(case) => case,
            Err(status) => return (None, stream::iter([Err(status)]).boxed()),
        };
        let steps = match &case {
            Some(case) => case.steps(),
            None => answers::default_steps(&method),
        };
        let (delay, every) = case
            .as_ref()
            .map_or_else(Default::default, |case| case.pauses());
        let encoded = stream::iter(steps.into_iter().enumerate()).then(move |(at, step)| {
            let pause = if at == 0 { delay } else { every };
            let (this, method) = (Arc::clone(&self), method.clone());
            let encoded = step.encode(&method, &call);
            async move {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                match &encoded {
                    Ok((json, _)) => this.log(&method, ">", json),
                    Err(status) => this.log(&method, ">", &status.to_string()),
                }
                encoded.map(|(_, bytes)| bytes)
            }
        });
        (case, encoded.boxed())
    }

    fn log(&self, method: &MethodDescriptor, direction: &str, text: &str) {
        let (name, text) = (method.name(), peer(text));
        self.output.note(&format!(
            "{NAME}{name}{NAME:#} {FAINT}{direction}{FAINT:#} {text}\n"
        ));
    }
}
