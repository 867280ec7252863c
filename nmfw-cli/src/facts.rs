//! [`Facts`]: the names of a live service, from the INFO of its instances.

use std::collections::BTreeMap;

use nmfw::permissions::ServiceFacts;

use crate::{
    discovery::{Endpoint, Instance},
    failure::Failure,
};

/// A service of nmfw, as its instances describe it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The name in discovery.
    pub(crate) name: String,
    /// The full name in the `.proto`.
    pub(crate) full_name: String,
    /// The subject to which the names of methods are appended.
    pub(crate) base: String,
    /// The queue group of each method, by its name.
    pub(crate) methods: BTreeMap<String, Option<String>>,
}

impl Facts {
    /// Returns the facts of the service of these instances, which are of one name.
    pub(crate) fn of(instances: &[Instance]) -> Result<Self, Failure> {
        let name = instances
            .first()
            .map_or("", |instance| &instance.identity.name);
        let foreign = || {
            Failure::new(format!(
                "{name} is not a service of nmfw: its INFO names no .proto"
            ))
        };
        let full_names = instances
            .iter()
            .filter_map(|instance| instance.identity.metadata.get("nmfw.service"));
        let full_name = full_names.clone().next().ok_or_else(foreign)?.clone();
        if let Some(other) = full_names.clone().find(|other| **other != full_name) {
            return Err(Failure::new(format!(
                "two services are named {name}: {full_name} and {other}"
            ))
            .hint("rename one of them with `Service::name`"));
        }
        let mut base: Option<String> = None;
        let mut methods = BTreeMap::new();
        let infos = instances
            .iter()
            .filter_map(|instance| instance.info.as_ref());
        for endpoint in infos.flat_map(|info| &info.endpoints) {
            let Some((of, method)) = parts(endpoint) else {
                continue;
            };
            match &base {
                Some(base) if base != of => {
                    return Err(Failure::new(format!(
                        "the instances of {name} serve on two subjects: {base} and {of}"
                    ))
                    .hint("give the services different names with `Service::name`"));
                }
                _ => base = Some(of.to_owned()),
            }
            let group = endpoint
                .queue_group
                .clone()
                .filter(|group| !group.is_empty());
            methods.insert(method.to_owned(), group);
        }
        let base = base.ok_or_else(|| {
            Failure::new(format!(
                "the instances of {name} do not name their endpoints"
            ))
        })?;
        Ok(Self {
            name: name.to_owned(),
            full_name,
            base,
            methods,
        })
    }

    /// Returns the facts for permissions.
    pub(crate) fn permissions(&self) -> Result<ServiceFacts, Failure> {
        // INFO has the queue groups of methods. That of the service is the one that most have.
        let mut groups: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for group in self.methods.values() {
            *groups.entry(group.as_deref()).or_default() += 1;
        }
        let group = groups.into_iter().max_by_key(|(_, number)| *number);
        let group = group.and_then(|(group, _)| group);
        let wrong = |error: nmfw::permissions::PermissionsError| {
            Failure::new(format!("the INFO of {} cannot be used: {error}", self.name))
        };
        let mut facts = ServiceFacts::new(&self.full_name, &self.name, &self.base, group);
        for (method, group) in &self.methods {
            facts = facts.and_then(|facts| facts.with_method(method, group.as_deref()));
        }
        facts.map_err(wrong)
    }
}

/// Returns the base subject of an endpoint of nmfw, and the name of its method.
fn parts(endpoint: &Endpoint) -> Option<(&str, &str)> {
    endpoint.method()?;
    endpoint.subject.rsplit_once('.')
}
