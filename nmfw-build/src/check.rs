//! Checks of a service's names, alone and against everything else in the build.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Place, Problem};
use crate::model::Service;
use crate::names;
use crate::options::QueueGroup;

/// Reports problems of services that cannot be found in their options alone.
pub(crate) fn services(services: &[Service], problems: &mut Vec<Problem>) {
    for service in services {
        own_names(service, problems);
        method_names(service, problems);
        lengths(service, problems);
    }
    discovery_names(services, problems);
    subjects(services, problems);
}

fn problem(place: &Place, what: String, help: impl Into<String>) -> Problem {
    Problem {
        place: place.clone(),
        what,
        help: help.into(),
    }
}

fn own_names(service: &Service, problems: &mut Vec<Problem>) {
    if !is_identifier(&service.names.service) {
        problems.push(problem(
            &service.place,
            format!(
                "the service name `{}` cannot be converted to a Rust name",
                service.proto_name
            ),
            "use a name with letters",
        ));
    }
    // Subjects from the options were already checked.
    if let Err(reason) = names::check_subject(&service.subject)
        && service.subject_is_default
    {
        problems.push(problem(
            &service.place,
            format!(
                "the subject \"{}\", derived from the package and the service, {reason}",
                service.subject
            ),
            "rename the package or the service, or set \
             `option (nmfw.service) = { subject: \"...\" };`",
        ));
    }
}

fn method_names(service: &Service, problems: &mut Vec<Problem>) {
    for method in &service.methods {
        let group = method.options.queue_group.as_ref();
        let group = group.or(service.options.queue_group.as_ref());
        if (method.kind.streams_requests || method.kind.streams_responses)
            && matches!(group, Some(QueueGroup::None))
        {
            problems.push(problem(
                &method.place,
                format!(
                    "the method `{}` streams and needs a queue group, because a stream is served \
                     by a single instance",
                    method.proto_name
                ),
                "set one: `option (nmfw.method) = { queue_group: \"q\" };`",
            ));
        }
        if method.proto_name.starts_with('_') {
            problems.push(problem(
                &method.place,
                format!(
                    "the method name `{}` is reserved: it begins with `_`",
                    method.proto_name
                ),
                "remove the underscore",
            ));
        } else if !is_identifier(&method.rust_name) {
            problems.push(problem(
                &method.place,
                format!(
                    "the method name `{}` cannot be converted to a Rust name",
                    method.proto_name
                ),
                "use a name with letters",
            ));
        }
    }
}

/// Reports names that are too long for NATS and for the runtime.
fn lengths(service: &Service, problems: &mut Vec<Problem>) {
    let name = &service.discovery_name;
    if name.len() > names::MAX_DISCOVERY_NAME {
        problems.push(problem(
            &service.place,
            format!(
                "the name \"{name}\" in discovery has {} bytes, and at most {} are allowed",
                name.len(),
                names::MAX_DISCOVERY_NAME
            ),
            "set a shorter one: `option (nmfw.service) = { name: \"...\" };`",
        ));
    }
    // The subject is too long to be displayed.
    let what = |part: &str, length: usize| {
        format!(
            "the subject of {part} has {length} bytes, and at most {} are allowed",
            names::MAX_SUBJECT
        )
    };
    const HELP: &str = "shorten the names, or set `option (nmfw.service) = { subject: \"...\" };`";
    let base = service.subject.len();
    if base > names::MAX_SUBJECT {
        let what = what(&format!("the service `{}`", service.proto_name), base);
        problems.push(problem(&service.place, what, HELP));
        return;
    }
    for method in &service.methods {
        let length = base + ".".len() + method.proto_name.len();
        if length > names::MAX_SUBJECT {
            let what = what(&format!("the method `{}`", method.proto_name), length);
            problems.push(problem(&method.place, what, HELP));
        }
    }
}

fn discovery_names(services: &[Service], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        if let Some(first) = seen.get(service.discovery_name.as_str()) {
            problems.push(problem(
                &service.place,
                format!(
                    "the services `{}` ({}) and `{}` would both be `{}` in discovery",
                    first.full_name, first.place.file, service.full_name, service.discovery_name
                ),
                "set `option (nmfw.service) = { name: \"...\" };` on one of them",
            ));
        } else {
            seen.insert(&service.discovery_name, service);
        }
    }
}

/// Reports services with the same base subject, which conflict even with different methods: a
/// service's sessions are at its base.
fn subjects(services: &[Service], problems: &mut Vec<Problem>) {
    const HELP: &str = "set `option (nmfw.service) = { subject: \"...\" };` on one of them";
    let mut seen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let Some(first) = seen.get(service.subject.as_str()) else {
            seen.insert(&service.subject, service);
            continue;
        };
        let theirs: BTreeSet<&str> = first
            .methods
            .iter()
            .map(|method| method.proto_name.as_str())
            .collect();
        let with = format!("`{}` ({})", first.full_name, first.place.file);
        let mut shared = false;
        for method in service
            .methods
            .iter()
            .filter(|method| theirs.contains(method.proto_name.as_str()))
        {
            shared = true;
            let subject = format!("{}.{}", service.subject, method.proto_name);
            problems.push(problem(
                &method.place,
                format!(
                    "the subject \"{subject}\" is also the subject of the method with this name in \
                     {with}"
                ),
                HELP,
            ));
        }
        if !shared {
            problems.push(problem(
                &service.place,
                format!(
                    "the subject \"{}\" is also the subject of the service {with}",
                    service.subject
                ),
                HELP,
            ));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    syn::parse_str::<syn::Ident>(name).is_ok()
}
