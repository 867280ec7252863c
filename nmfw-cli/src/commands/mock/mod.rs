//! `nmfw mock`: a service from a `.proto` and answers in a file.

mod answers;
mod check;
mod defaults;
mod document;
mod fault;
mod fields;
mod serve;
mod template;
mod when;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use clap_complete::{ArgValueCompleter, PathCompleter};
use nmfw::{Connection, Server, ServiceSpec, server::Service};
use nmfw_schema::Schema;
use serde::Serialize;

use self::{answers::Answers, document::Document, serve::Mock};
use crate::{
    arguments::Global,
    codec::{self, Style},
    complete,
    connection::connect,
    described::Described,
    discovery::first,
    facts::Facts,
    failure::Failure,
    files,
    output::{
        Output,
        table::{Cell, Table},
        text::{FAINT, NAME},
    },
    schema,
};

/// Serve the services of a .proto with answers from a file
///
/// Without a file of answers, the answers are made from the schema: fields that the request has too
/// have its values, and others have values by their types and names. The services are those that
/// generated code would serve, with the same subjects, discovery and schema. Ends with Ctrl-C.
#[derive(Debug, Args)]
#[command(
    override_usage = "nmfw mock [OPTIONS] <FILE> [ANSWERS]\n       nmfw mock [OPTIONS] --like <SERVICE> [ANSWERS]",
    after_long_help = "\
The file of answers is YAML, or JSON:
  methods:
    calc.Calc/Add:                        # the first answer that is for the request counts
      - when: { values: [1, 2] }          # fields that the request must have; the others can be any
        answer: { result: 3 }
      - times: 1                          # for this number of calls
        delay: 200ms
        error:
          code: NOT_FOUND                 # message, details and metadata are optional
          message: no {{request.name}} here
          details:
            - { \"@type\": google.rpc.ErrorInfo, reason: GONE }
      - failures: { ratio: 0.1, code: UNAVAILABLE }
        answer: { result: \"{{random 1 6}}\" }
        metadata: { served-by: mock }
    acme.Clock/Watch:
      - stream:                           # for methods that return a stream
          - answer: { tick: \"{{index}}\" }
            repeat: 10
            delay: 1s
          - error: { code: ABORTED }

A text that is one template has the type of its value, or is a text if the field is one. Templates:
  {{request.FIELD}}     a field of the request, such as {{request.user.name}} or {{request.tags.0}}
  {{count}}             the number of requests of the call so far; {{request}} is the last of them
  {{index}}             the position in a stream of answers, from 0
  {{counter [NAME]}}    1, 2, 3 and so on, for the method or by name
  {{random 1 6}}        a whole number, and {{random_float 0.5 1.5}} one with a fraction
  {{uuid}}, {{now}}     a random UUID, and the time
  \\{{                   the braces themselves

A method with streams in both directions answers each request as it comes."
)]
pub(crate) struct MockCommand {
    /// A .proto file, or a descriptor set if its name does not end in .proto
    #[arg(required_unless_present = "like", add = ArgValueCompleter::new(PathCompleter::file()))]
    file: Option<PathBuf>,

    /// The answers, in YAML
    #[arg(add = ArgValueCompleter::new(PathCompleter::file()))]
    answers: Option<PathBuf>,

    /// Serve what a live service has in its schema
    ///
    /// It is served beside the live one, with -mock after its name and mock. before its subject.
    #[arg(long, value_name = "SERVICE", add = ArgValueCompleter::new(complete::services))]
    like: Option<String>,

    /// Serve only this service of the file, such as calc.Calc
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,

    /// The name in discovery
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The subject to which the names of methods are appended
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,

    /// Start random numbers from here, so that they are the same each time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Print the calls, and which answer each gets
    #[arg(long, short)]
    verbose: bool,

    /// Print a file of answers to fill in, and serve nothing
    #[arg(long)]
    template: bool,

    /// A folder in which imports are found; the default is that of the file, and the current one
    #[arg(long = "include", short = 'I', value_name = "FOLDER")]
    includes: Vec<PathBuf>,
}

/// A service to serve, with the names that differ from those of the schema.
struct Source {
    schema: Schema,
    services: Vec<String>,
    name: Option<String>,
    subject: Option<String>,
}

#[derive(Serialize)]
struct Started {
    services: Vec<Served>,
}

#[derive(Serialize)]
struct Served {
    name: String,
    service: String,
    methods: Vec<ServedMethod>,
}

#[derive(Serialize)]
struct ServedMethod {
    name: &'static str,
    subject: String,
    /// `None` if answers are made from the schema.
    answers: Option<usize>,
}

impl MockCommand {
    pub(super) async fn execute(mut self, global: &Global, output: &Output) -> Result<(), Failure> {
        if self.like.is_some() && self.answers.is_none() {
            // The only positional argument is that of the answers.
            self.answers = self.file.take();
        }
        if self.like.is_some() && self.file.is_some() {
            return Err(Failure::new("--like takes the place of the file")
                .hint("name the answers only: nmfw mock --like SERVICE [ANSWERS]"));
        }
        let mut nats = None;
        let source = match &self.like {
            None => self.file_source()?,
            Some(service) => {
                let nats = nats.insert(connect(global).await?);
                self.live_source(nats, service, global).await?
            }
        };
        let services = Described::of(&source.schema, &source.services)?;
        if self.template {
            return output.print(&template(&services)?);
        }
        if let (true, Some(option)) = (
            services.len() > 1,
            [("--name", &source.name), ("--subject", &source.subject)]
                .into_iter()
                .find_map(|(option, value)| value.as_ref().map(|_| option)),
        ) {
            return Err(Failure::new(format!(
                "{option} is for one service, and there are {}",
                services.len()
            ))
            .hint("choose one with --service NAME"));
        }
        let answers = match &self.answers {
            Some(path) => Answers::read(&Document::read(path)?, &source.schema)?,
            None => Answers::default(),
        };
        let methods = services
            .iter()
            .flat_map(|service| service.descriptor.methods().collect::<Vec<_>>());
        let log = self.verbose.then_some(*output);
        let mock = Arc::new(Mock::new(methods, answers, self.seed, log));
        let nats = match nats {
            Some(nats) => nats,
            None => connect(global).await?,
        };
        serve(nats, &source, &services, mock, output).await
    }

    fn file_source(&self) -> Result<Source, Failure> {
        let file = self.file.as_deref().unwrap_or_else(|| "".as_ref());
        let schema = files::read(file, &self.includes)?;
        let services = match self.services.is_empty() {
            false => self.services.clone(),
            // Services of imported files belong to other programs.
            true => files::own_services(&schema, file),
        };
        Ok(Source {
            schema,
            services,
            name: self.name.clone(),
            subject: self.subject.clone(),
        })
    }

    async fn live_source(
        &self,
        nats: &Connection,
        service: &str,
        global: &Global,
    ) -> Result<Source, Failure> {
        let instance = first(nats, service, global.timeout).await?;
        let facts = Facts::of(std::slice::from_ref(&instance))?;
        let schema = schema::of_instance(nats, &facts.base, &instance, global.timeout).await?;
        let name = self.name.clone();
        let subject = self.subject.clone();
        Ok(Source {
            schema,
            services: vec![facts.full_name],
            name: Some(name.unwrap_or_else(|| format!("{}-mock", facts.name))),
            subject: Some(subject.unwrap_or_else(|| format!("mock.{}", facts.base))),
        })
    }
}

async fn serve(
    nats: Connection,
    source: &Source,
    services: &[Described],
    mock: Arc<Mock>,
    output: &Output,
) -> Result<(), Failure> {
    let mut server = Server::new(nats);
    let mut started = Vec::new();
    for service in services {
        let name = source.name.as_deref().unwrap_or(&service.name);
        let base = source.subject.as_deref().unwrap_or(&service.subject);
        let handler = Arc::clone(&mock);
        let mut served =
            Service::untyped(with_schema(service.spec, &source.schema), move |request| {
                let mock = Arc::clone(&handler);
                async move { mock.call(request).await }
            })
            .name(name)
            .subject(base)
            .version(&service.version)
            .metadata("mock", "true");
        if let Some(description) = &service.description {
            served = served.description(description);
        }
        server = server.add_service(served);
        started.push(Served {
            name: name.to_owned(),
            service: service.full_name().to_owned(),
            methods: service
                .spec
                .methods()
                .map(|method| ServedMethod {
                    name: method.name(),
                    subject: format!("{base}.{}", method.name()),
                    answers: mock.answers(method),
                })
                .collect(),
        });
    }
    let running = server.start().await?;
    report(started, output)?;
    nmfw::shutdown_signal().recv().await;
    running.stop();
    running.join().await?;
    Ok(())
}

/// Returns the description of a service that carries its schema.
fn with_schema(spec: &ServiceSpec, schema: &Schema) -> &'static ServiceSpec {
    // They live as long as the program, which serves them once.
    let hash: &'static str = schema.hash().to_owned().leak();
    let compressed: &'static [u8] = schema.compressed().to_vec().leak();
    Box::leak(Box::new(spec.with_schema(hash, compressed)))
}

fn report(services: Vec<Served>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.print_json(&Started { services });
    }
    let mut table = Table::new(["METHOD", "SUBJECT", "ANSWERS"]);
    for service in &services {
        for method in &service.methods {
            table.row([
                Cell::peer(&format!("{}/{}", service.service, method.name)).style(NAME),
                Cell::peer(&method.subject),
                match method.answers {
                    Some(number) => Cell::new(number.to_string()),
                    None => Cell::new("from the schema").style(FAINT),
                },
            ]);
        }
    }
    output.print(&table.render(output.width()))?;
    let names: Vec<_> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    output.print(&format!(
        "\n{FAINT}Serving {}; Ctrl-C ends it{FAINT:#}\n",
        crate::output::text::peer(&names.join(", "))
    ))
}

/// Returns a file of answers with one for each method.
fn template(services: &[Described]) -> Result<String, Failure> {
    let mut text = "methods:\n".to_owned();
    for service in services {
        for method in service.descriptor.methods() {
            let answer = defaults::answer(&method.output(), None);
            let style = Style {
                pretty: false,
                defaults: true,
            };
            let json = codec::from_dynamic(&answer, style)
                .map_err(|why| Failure::new(format!("the template cannot be written: {why}")))?;
            text.push_str(&format!("  {}/{}:\n", service.full_name(), method.name()));
            match method.is_server_streaming() {
                true => text.push_str(&format!(
                    "    - stream:\n        - answer: {json}\n          repeat: 3\n          delay: 100ms\n"
                )),
                false => text.push_str(&format!("    - answer: {json}\n")),
            }
        }
    }
    Ok(text)
}
