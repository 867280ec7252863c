//! [`Target`]: a live method, with everything needed to call it.

use std::time::Duration;

use nmfw::{Channel, Connection, Method, NatsChannel, ServiceSpec, prost_types::FileDescriptorSet};
use nmfw_schema::{Schema, prost_reflect::MethodDescriptor};
use prost::Message;

use crate::{
    discovery::{Endpoint, Instance, Verb, find, first},
    facts::Facts,
    failure::{Exit, Failure},
    schema,
    suggest::nearest,
};

/// The names of a service and a method on the command line: `calc.Calc/Add`, `calc.Add` or `calc/Add`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) service: String,
    pub(crate) method: String,
}

impl Path {
    /// Parses a path for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let split = text.split_once('/').or_else(|| text.rsplit_once('.'));
        match split {
            Some((service, method)) if !service.is_empty() && !method.is_empty() => Ok(Self {
                service: service.to_owned(),
                method: method.to_owned(),
            }),
            _ => Err("name a service and a method, such as calc.Calc/Add or calc.Add".to_owned()),
        }
    }
}

/// A method of a live service.
#[derive(Debug)]
pub(crate) enum Target {
    Nmfw(Box<Known>),
    /// An endpoint of a service that is not made with nmfw.
    Foreign {
        subject: String,
    },
}

/// A method of which the schema is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// The subject to which the names of methods are appended.
    pub(crate) base: String,
    /// The instance to call; `None` for any.
    pub(crate) instance: Option<String>,
    pub(crate) schema: Schema,
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) method: Method,
}

impl Known {
    /// Returns a channel to the service, or to its instance.
    pub(crate) fn channel(&self, nats: &Connection) -> Channel {
        let channel = Channel::new(nats).subject(&self.base);
        match &self.instance {
            Some(id) => channel.instance(id),
            None => channel,
        }
    }
}

impl Target {
    /// Finds a method of a live service, on any instance or on the one whose id begins or ends with
    /// `instance`. `files` is the schema of a service that has none itself.
    pub(crate) async fn find(
        nats: &Connection,
        path: &Path,
        instance: Option<&str>,
        files: Option<Schema>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let pinned = instance;
        let instance = match pinned {
            None => first(nats, &path.service, limit).await?,
            Some(id) => only(nats, &path.service, id, limit).await?,
        };
        let is_nmfw = instance.identity.metadata.contains_key("nmfw.service");
        if !is_nmfw && files.is_none() {
            return foreign(&instance, &path.method);
        }
        let facts = Facts::of(std::slice::from_ref(&instance))?;
        let schema = match files {
            Some(files) => files,
            None => schema::of_instance(nats, &facts.base, &instance, limit).await?,
        };
        let id = pinned.map(|_| instance.identity.id);
        known(schema, facts, id, &path.method)
    }
}

/// Returns the only instance of a service whose id begins or ends with this.
async fn only(
    nats: &Connection,
    service: &str,
    id: &str,
    limit: Duration,
) -> Result<Instance, Failure> {
    let verbs = [Verb::Ping, Verb::Info];
    let survey = find(nats, Some(service), Some(id), &verbs, limit).await?;
    match &survey.instances[..] {
        [instance] => Ok(instance.clone()),
        several => {
            let ids: Vec<_> = several.iter().map(|i| i.identity.id.as_str()).collect();
            Err(Failure::new(format!(
                "several instances of {service} are meant by {id:?}"
            ))
            .hint(format!("name one of {}", ids.join(", "))))
        }
    }
}

fn known(
    schema: Schema,
    facts: Facts,
    instance: Option<String>,
    method: &str,
) -> Result<Target, Failure> {
    let Facts {
        full_name, base, ..
    } = facts;
    let service = schema
        .pool()
        .get_service_by_name(&full_name)
        .ok_or_else(|| {
            Failure::new(format!("the schema has no service {full_name}"))
                .exit(Exit::NotFound)
                .hint("the files must be those from which the service was built")
        })?;
    let descriptor = service.methods().find(|known| known.name() == method);
    let descriptor = descriptor.ok_or_else(|| {
        let methods = service.methods().map(|method| method.name().to_owned());
        unknown(&full_name, method, methods.collect())
    })?;
    // The set was read before, so it can be read again.
    let set = FileDescriptorSet::decode(schema.descriptor_set()).unwrap_or_default();
    let spec = ServiceSpec::from_descriptors(&set, &full_name);
    let method = spec.and_then(|spec| spec.find_method(method));
    let method = method.ok_or_else(|| Failure::new(format!("{full_name} cannot be called")))?;
    Ok(Target::Nmfw(Box::new(Known {
        base,
        instance,
        schema,
        descriptor,
        method,
    })))
}

fn foreign(instance: &Instance, name: &str) -> Result<Target, Failure> {
    let endpoints = || instance.info.iter().flat_map(|info| &info.endpoints);
    let is_meant = |endpoint: &&Endpoint| endpoint.name == name || endpoint.subject == name;
    match endpoints().find(is_meant) {
        Some(endpoint) => Ok(Target::Foreign {
            subject: endpoint.subject.clone(),
        }),
        None => {
            let names = endpoints().map(|endpoint| endpoint.name.clone());
            Err(unknown(&instance.identity.name, name, names.collect()))
        }
    }
}

fn unknown(service: &str, method: &str, known: Vec<String>) -> Failure {
    let failure = Failure::new(format!("{service} has no method {method:?}")).exit(Exit::NotFound);
    match nearest(method, known.iter().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint(format!("it has: {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn paths_are_split() {
        for (text, service, method) in [
            ("calc.Calc/Add", "calc.Calc", "Add"),
            ("calc.Calc.Add", "calc.Calc", "Add"),
            ("calc.Add", "calc", "Add"),
            ("calc/Add", "calc", "Add"),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!((&*path.service, &*path.method), (service, method));
        }
        for text in ["", "calc", "/Add", "calc/", ".Add", "calc."] {
            assert!(Path::parse(text).is_err(), "{text:?}");
        }
    }
}
