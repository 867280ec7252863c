//! The model of a build's services, with all decisions that generated code needs: names, subjects,
//! options, comments.

use std::collections::BTreeSet;

use prost_reflect::{FileDescriptor, MethodDescriptor, ServiceDescriptor};
use prost_types::method_options::IdempotencyLevel;

use crate::comments::{self, FILE_SERVICE, METHOD_OPTIONS, SERVICE_METHOD, SERVICE_OPTIONS};
use crate::docs;
use crate::error::{Place, Problem};
use crate::location;
use crate::names;
use crate::option_place::{self, OptionPath};
use crate::options::{self, Common, Complaint};
use crate::protos::Protos;
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) place: Place,
    pub(crate) package: String,
    pub(crate) proto_name: String,
    pub(crate) full_name: String,
    pub(crate) names: Names,
    pub(crate) discovery_name: String,
    pub(crate) subject: String,
    pub(crate) subject_is_default: bool,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    pub(crate) options: Common,
    pub(crate) deprecated: bool,
    pub(crate) docs: Vec<String>,
    pub(crate) methods: Vec<Method>,
}

/// The Rust names of a service in the module of its package.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) service: String,
    pub(crate) server: String,
    pub(crate) client: String,
    pub(crate) spec: String,
}

impl Names {
    /// Makes the names of a service from its name in the `.proto`.
    fn from_proto(service: &str) -> Self {
        Self {
            service: names::type_name(service),
            server: names::companion(service, "Server"),
            client: names::companion(service, "Client"),
            spec: names::spec(service),
        }
    }

    /// Makes the names of a service from the chosen name of its trait.
    pub(crate) fn from_rust(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            server: format!("{service}Server"),
            client: format!("{service}Client"),
            spec: names::spec(service),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) place: Place,
    pub(crate) proto_name: String,
    pub(crate) rust_name: String,
    /// The Rust name of the constant that holds the method.
    pub(crate) constant: String,
    pub(crate) kind: MethodKind,
    pub(crate) idempotency: IdempotencyLevel,
    pub(crate) options: Common,
    pub(crate) deprecated: bool,
    pub(crate) docs: Vec<String>,
}

/// The sides of a method that stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MethodKind {
    pub(crate) streams_requests: bool,
    pub(crate) streams_responses: bool,
}

/// Reads all services of the pool, and reports errors in their options.
///
/// Services of a file that is only imported, and whose code is elsewhere, are left out. A file that
/// is compiled keeps its services even if its code is elsewhere, because the crate with its
/// messages may not use nmfw.
pub(crate) fn read(
    protos: &Protos,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Vec<Service> {
    let services = protos.pool.services().filter(|service| {
        let only_imported = protos.imported.contains(service.parent_file().name());
        !(only_imported && settings.is_extern(service.full_name()))
    });
    services
        .map(|service| read_service(&service, protos, settings, problems))
        .collect()
}

fn read_service(
    service: &ServiceDescriptor,
    protos: &Protos,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Service {
    let file = service.parent_file();
    let path = service_path(service);
    let place = Place {
        file: file.name().to_owned(),
        position: location::position(&file, &path),
        service: service.full_name().to_owned(),
        method: None,
    };
    let mut complaints = Vec::new();
    let options = options::service(service.parent_pool(), &service.options(), &mut complaints);
    let option = OptionPath {
        element: &path,
        options: SERVICE_OPTIONS,
        extension: options::SERVICE,
    };
    report(problems, protos, &option, &place, complaints);

    let tokens = names::tokens(service.package_name(), service.name());
    let prefix = Some(&settings.subject_prefix).filter(|prefix| !prefix.is_empty());
    let subject_is_default = options.subject.is_none();
    let subject = options.subject.unwrap_or_else(|| {
        let parts: Vec<&str> = prefix
            .into_iter()
            .chain(&tokens)
            .map(String::as_str)
            .collect();
        parts.join(".")
    });
    let comment = comment(&file, &path);
    Service {
        package: service.package_name().to_owned(),
        proto_name: service.name().to_owned(),
        full_name: service.full_name().to_owned(),
        names: Names::from_proto(service.name()),
        discovery_name: options.name.unwrap_or_else(|| tokens.join("-")),
        subject,
        subject_is_default,
        version: options
            .version
            .unwrap_or_else(|| settings.service_version.clone()),
        description: options.description.or_else(|| docs::summary(&comment)),
        options: options.common,
        deprecated: service
            .service_descriptor_proto()
            .options
            .as_ref()
            .is_some_and(prost_types::ServiceOptions::deprecated),
        docs: settings.docs(service.full_name(), &comment),
        methods: separate(
            service
                .methods()
                .zip(0..)
                .map(|(method, index)| {
                    read_method(&method, (protos, settings), &path, index, &place, problems)
                })
                .collect(),
        ),
        place,
    }
}

/// Makes the Rust names of methods unique. Methods that differ only in case get trailing
/// underscores, in their order.
fn separate(mut methods: Vec<Method>) -> Vec<Method> {
    let mut names = BTreeSet::new();
    for method in &mut methods {
        while !names.insert(method.rust_name.clone()) {
            let plain = method.rust_name.trim_start_matches("r#");
            method.rust_name = format!("{plain}_");
        }
        while !names.insert(method.constant.clone()) {
            method.constant.push('_');
        }
    }
    methods
}

fn read_method(
    method: &MethodDescriptor,
    (protos, settings): (&Protos, &Settings),
    service_path: &[i32],
    index: i32,
    service: &Place,
    problems: &mut Vec<Problem>,
) -> Method {
    let file = &method.parent_file();
    let mut path = service_path.to_vec();
    path.extend([SERVICE_METHOD, index]);
    let place = Place {
        position: location::position(file, &path).or(service.position),
        method: Some(method.name().to_owned()),
        ..service.clone()
    };
    let mut complaints = Vec::new();
    let options = options::method(method.parent_pool(), &method.options(), &mut complaints);
    let option = OptionPath {
        element: &path,
        options: METHOD_OPTIONS,
        extension: options::METHOD,
    };
    report(problems, protos, &option, &place, complaints);
    let standard = method.method_descriptor_proto().options.as_ref();
    Method {
        place,
        proto_name: method.name().to_owned(),
        rust_name: names::method(method.name()),
        constant: names::constant(method.name()),
        kind: MethodKind {
            streams_requests: method.is_client_streaming(),
            streams_responses: method.is_server_streaming(),
        },
        idempotency: standard.map_or(IdempotencyLevel::IdempotencyUnknown, |options| {
            options.idempotency_level()
        }),
        options,
        deprecated: standard.is_some_and(prost_types::MethodOptions::deprecated),
        docs: settings.docs(method.full_name(), &comment(file, &path)),
    }
}

fn report(
    problems: &mut Vec<Problem>,
    protos: &Protos,
    option: &OptionPath<'_>,
    place: &Place,
    complaints: Vec<Complaint>,
) {
    problems.extend(complaints.into_iter().map(|complaint| {
        let position = option_place::find(protos, &place.file, option, complaint.field);
        Problem {
            place: Place {
                position: position.or(place.position),
                ..place.clone()
            },
            what: complaint.what,
            help: complaint.help,
        }
    }));
}

fn service_path(service: &ServiceDescriptor) -> Vec<i32> {
    let index = service
        .parent_file()
        .services()
        .zip(0..)
        .find(|(other, _)| other == service)
        .map_or(0, |(_, index)| index);
    vec![FILE_SERVICE, index]
}

fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    location::find(file, path)
        .map(comments::text)
        .unwrap_or_default()
}
