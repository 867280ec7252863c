//! [`Described`]: a service of a schema, with the options of its `.proto`.

use nmfw::{ServiceSpec, permissions::ServiceFacts, prost_types::FileDescriptorSet};
use nmfw_schema::{
    Schema,
    prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, ServiceDescriptor, Value},
};
use prost::Message;

use crate::{failure::Failure, suggest::nearest};

/// A service of a schema, with the names that generated code gives it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) descriptor: ServiceDescriptor,
    pub(crate) spec: &'static ServiceSpec,
    /// The name in discovery.
    pub(crate) name: String,
    /// The subject to which the names of methods are appended.
    pub(crate) subject: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    /// The queue group; `None` if each instance gets all requests.
    queue_group: Option<String>,
}

/// The queue group that services have unless they name one.
const QUEUE_GROUP: &str = "q";

impl Described {
    /// Returns the services of a schema: all, or those with these names.
    pub(crate) fn of(schema: &Schema, names: &[String]) -> Result<Vec<Self>, Failure> {
        let mut services: Vec<_> = schema.services().collect();
        for name in names {
            if !services.iter().any(|service| service.full_name() == name) {
                let known: Vec<_> = services.iter().map(ServiceDescriptor::full_name).collect();
                let failure = Failure::new(format!("the schema has no service {name:?}"));
                return Err(match nearest(name, known.iter().copied()) {
                    Some(name) => failure.hint(format!("did you mean {name}?")),
                    None => failure.hint(format!("it has: {}", known.join(", "))),
                });
            }
        }
        services.retain(|service| {
            names.is_empty() || names.iter().any(|name| name == service.full_name())
        });
        if services.is_empty() {
            return Err(Failure::new("the schema has no services"));
        }
        let set = FileDescriptorSet::decode(schema.descriptor_set())
            .map_err(|error| Failure::new("the schema cannot be read").caused_by(&error))?;
        services
            .into_iter()
            .map(|service| Self::new(schema, &set, service))
            .collect()
    }

    fn new(
        schema: &Schema,
        set: &FileDescriptorSet,
        descriptor: ServiceDescriptor,
    ) -> Result<Self, Failure> {
        let spec = ServiceSpec::from_descriptors(set, descriptor.full_name());
        let spec = spec
            .ok_or_else(|| Failure::new(format!("{} cannot be served", descriptor.full_name())))?;
        let options = options(schema.pool(), &descriptor.options(), "nmfw.service");
        let text = |name: &str| string(options.as_ref()?, name);
        let comment = comment(&descriptor);
        Ok(Self {
            spec,
            name: text("name").unwrap_or_else(|| spec.discovery_name().to_owned()),
            subject: text("subject").unwrap_or_else(|| spec.base_subject().to_owned()),
            version: text("version").unwrap_or_else(|| spec.version().to_owned()),
            description: text("description").or(comment),
            queue_group: group(options.as_ref()).unwrap_or_else(|| Some(QUEUE_GROUP.to_owned())),
            descriptor,
        })
    }

    /// Returns the full name in the `.proto`.
    pub(crate) fn full_name(&self) -> &str {
        self.descriptor.full_name()
    }

    /// Returns the facts for permissions.
    pub(crate) fn permissions(&self) -> Result<ServiceFacts, Failure> {
        let pool = self.descriptor.parent_pool();
        let mut facts = ServiceFacts::new(
            self.full_name(),
            &self.name,
            &self.subject,
            self.queue_group.as_deref(),
        );
        for method in self.descriptor.methods() {
            let options = options(pool, &method.options(), "nmfw.method");
            let group = group(options.as_ref()).unwrap_or_else(|| self.queue_group.clone());
            facts = facts.and_then(|facts| facts.with_method(method.name(), group.as_deref()));
        }
        facts.map_err(|error| {
            Failure::new(format!("{} cannot be served: {error}", self.full_name()))
        })
    }
}

/// Returns the options of nmfw among those of a service or method.
fn options(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name)?;
    let is_set =
        extension.containing_message() == options.descriptor() && options.has_extension(&extension);
    let value = is_set.then(|| options.get_extension(&extension))?;
    value.as_message().cloned()
}

/// Returns a text that is set.
fn string(options: &DynamicMessage, name: &str) -> Option<String> {
    options
        .has_field_by_name(name)
        .then(|| options.get_field_by_name(name))
        .flatten()?
        .as_str()
        .map(str::to_owned)
}

/// Returns the queue group that options set; the inner `None` if they set that there is none.
fn group(options: Option<&DynamicMessage>) -> Option<Option<String>> {
    let options = options?;
    let none = options.get_field_by_name("no_queue_group");
    match none.is_some_and(|none| *none == Value::Bool(true)) {
        true => Some(None),
        false => string(options, "queue_group").map(Some),
    }
}

/// Returns the first paragraph of a service's comment, as generated code describes the service.
fn comment(service: &ServiceDescriptor) -> Option<String> {
    let file = service.parent_file();
    let file = file.file_descriptor_proto();
    let info = file.source_code_info.as_ref()?;
    let at = info
        .location
        .iter()
        .find(|location| location.path == service.path())?;
    let comment = at.leading_comments();
    let paragraph = comment.trim().split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}
