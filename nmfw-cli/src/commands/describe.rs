//! `nmfw describe`: the `.proto` text of a live service.

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use nmfw::Connection;
use nmfw_schema::{Schema, json_schema, proto_text};

use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Instance, Verb, find, first},
    facts::Facts,
    failure::{Exit, Failure},
    files::Files,
    output::{
        Output,
        text::{escape_json, lines},
    },
    schema,
    suggest::nearest,
};

/// Print the .proto of a service, a method or a message, with its comments
///
/// It needs no files: the service has its schema with it. With --proto, it needs no service.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw describe calc
  nmfw describe calc.Calc/Add
  nmfw describe calc.AddRequest
  nmfw describe calc --format descriptor > calc.binpb")]
pub(crate) struct Describe {
    /// The service, method or message: calc, calc.Calc/Add, calc.Add or calc.AddRequest
    #[arg(add = ArgValueCompleter::new(complete::elements))]
    name: String,

    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Proto)]
    format: Format,

    #[command(flatten)]
    files: Files,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// .proto text that compiles
    Proto,
    /// The JSON Schema of a message
    JsonSchema,
    /// The whole descriptor set, a FileDescriptorSet in protobuf
    Descriptor,
}

impl Describe {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let (schema, element) = match self.files.read()? {
            Some(schema) => {
                let element = named(&schema, &self.name, None)?;
                (schema, element)
            }
            None => {
                let nats = connect(global).await?;
                live(&nats, &self.name, global).await?
            }
        };
        match self.format {
            Format::Descriptor if output.is_terminal() => {
                Err(Failure::new("a descriptor set is not text")
                    .hint("write it to a file: add > FILE"))
            }
            Format::Descriptor => output.print_raw(schema.descriptor_set()),
            Format::JsonSchema => {
                let message = schema.message(&element).ok_or_else(|| {
                    Failure::new(format!(
                        "{element} is not a message, and has no JSON Schema"
                    ))
                    .hint(messages(&schema, &element))
                })?;
                let text = json_schema::message(&message);
                output.print(&format!("{}\n", escape_json(text.trim_end())))
            }
            Format::Proto => {
                let text = proto_text::element(&schema, &element);
                let text = text.ok_or_else(|| unknown(&schema, &self.name))?;
                match output.is_terminal() {
                    true => output.print(&lines(&text)),
                    // A compiler reads it.
                    false => output.print_raw(text.as_bytes()),
                }
            }
        }
    }
}

/// Returns the schema of the live service that a name begins with, and the full name of the element.
async fn live(nats: &Connection, name: &str, global: &Global) -> Result<(Schema, String), Failure> {
    let split = name.split_once('/').or_else(|| name.rsplit_once('.'));
    let whole = match name.contains('/') {
        true => None,
        false => Some(first(nats, name, global.timeout).await),
    };
    let instance = match (whole, split) {
        (Some(Ok(instance)), _) => instance,
        // `calc.Add` is the method of a service named calc.
        (Some(Err(failure)), Some((service, _))) if failure.status() == Exit::NotFound => {
            match first(nats, service, global.timeout).await {
                Ok(instance) => instance,
                // `acme.shop.v1.Order` is a message of a service in its package.
                Err(failure) => of_package(nats, service, global).await?.ok_or(failure)?,
            }
        }
        (Some(Err(failure)), _) => return Err(failure),
        (None, Some((service, _))) => first(nats, service, global.timeout).await?,
        (None, None) => return Err(Failure::new("name a service")),
    };
    let facts = Facts::of(std::slice::from_ref(&instance))?;
    let schema = schema::of_instance(nats, &facts.base, &instance, global.timeout).await?;
    let element = match name == facts.name || name == facts.full_name {
        true => facts.full_name,
        false => named(&schema, name, Some(&facts))?,
    };
    Ok((schema, element))
}

/// Returns an instance of a service in a package.
async fn of_package(
    nats: &Connection,
    package: &str,
    global: &Global,
) -> Result<Option<Instance>, Failure> {
    let survey = find(nats, None, None, &[Verb::Ping, Verb::Info], global.timeout).await?;
    let is_meant = |instance: &Instance| {
        let service = instance.identity.metadata.get("nmfw.service");
        let of = service.and_then(|service| service.rsplit_once('.'));
        of.is_some_and(|(of, _)| of == package) && instance.info.is_some()
    };
    Ok(survey.instances.into_iter().find(is_meant))
}

/// Returns the full name of the element with a name, which can begin with the name of the service.
fn named(schema: &Schema, name: &str, facts: Option<&Facts>) -> Result<String, Failure> {
    let tail = name.rsplit(['.', '/']).next().unwrap_or(name);
    let mut candidates = vec![name.to_owned()];
    if let Some(facts) = facts {
        candidates.push(format!("{}/{tail}", facts.full_name));
        if let Some((package, _)) = facts.full_name.rsplit_once('.') {
            candidates.push(format!("{package}.{tail}"));
        }
    }
    let is_known = |name: &&String| {
        schema.service(name).is_some()
            || schema.method(name).is_some()
            || schema.message(name).is_some()
            || schema.pool().get_enum_by_name(name).is_some()
    };
    let known = candidates.iter().find(is_known).cloned();
    known.ok_or_else(|| unknown(schema, name))
}

fn unknown(schema: &Schema, name: &str) -> Failure {
    let failure = Failure::new(format!("the schema has no {name:?}")).exit(Exit::NotFound);
    let mut names = Vec::new();
    for service in schema.services() {
        names.push(service.full_name().to_owned());
        let methods = service.methods().map(|method| method.name().to_owned());
        names.extend(methods.map(|method| format!("{}/{method}", service.full_name())));
    }
    names.extend(
        schema
            .pool()
            .all_messages()
            .map(|message| message.full_name().to_owned()),
    );
    match nearest(name, names.iter().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure,
    }
}

/// Says which messages an element has.
fn messages(schema: &Schema, element: &str) -> String {
    match schema.method(element) {
        Some(method) => format!(
            "name its request or response: {} or {}",
            method.input().full_name(),
            method.output().full_name()
        ),
        None => "name a message, such as calc.AddRequest".to_owned(),
    }
}
