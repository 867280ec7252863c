//! Gives each service Rust names that are unique in the module of its package.

use std::collections::BTreeMap;

use crate::collisions::Types;
use crate::error::{Error, Problem};
use crate::model::{Names, Service};
use crate::settings::Settings;

/// Settles the names of all services.
///
/// Names that the build script chose come first and have to be free. An automatic name that is
/// taken gets trailing underscores until it is free. Messages cannot conflict with these, because
/// prost-build removes underscores.
///
/// # Errors
/// Fails if a name was chosen for a service that does not exist, or if it is not a valid type name.
pub(crate) fn settle(
    services: &mut [Service],
    mut taken: Types,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Result<(), Error> {
    let chosen = chosen(services, settings)?;
    for service in services.iter_mut() {
        let Some(name) = chosen.get(&service.full_name) else {
            continue;
        };
        service.names = Names::from_rust(name);
        for (name, what) in generated(service, settings) {
            if let Some(other) = taken.get(&service.package, name) {
                problems.push(Problem {
                    place: service.place.clone(),
                    what: format!(
                        "the service needs the Rust {what} `{name}`, but {other} already has this \
                         name"
                    ),
                    help: format!(
                        "choose another name for it: `rename_service(\".{}\", \"...\")`",
                        service.full_name
                    ),
                });
            }
        }
        take(service, &mut taken, settings);
    }
    for service in services.iter_mut() {
        if chosen.contains_key(&service.full_name) {
            continue;
        }
        for name in generated_mut(&mut service.names, settings) {
            while taken.get(&service.package, name).is_some() {
                name.push('_');
            }
        }
        take(service, &mut taken, settings);
    }
    Ok(())
}

/// Returns the chosen names by the full name of the service.
fn chosen<'a>(
    services: &[Service],
    settings: &'a Settings,
) -> Result<BTreeMap<String, &'a str>, Error> {
    let mut chosen = BTreeMap::new();
    for (path, name) in &settings.service_names {
        let full_name = path.strip_prefix('.').unwrap_or(path);
        if !services
            .iter()
            .any(|service| service.full_name == full_name)
        {
            let known: Vec<String> = services
                .iter()
                .map(|service| format!("`.{}`", service.full_name))
                .collect();
            return Err(Error::config(format!(
                "`rename_service` names the service `{path}`, which does not exist; the services \
                 are {}",
                known.join(", ")
            )));
        }
        let is_type_name = name.starts_with(|c: char| c.is_ascii_uppercase())
            && syn::parse_str::<syn::Ident>(name).is_ok();
        if !is_type_name {
            return Err(Error::config(format!(
                "`rename_service` cannot name the service `{path}` `{name}`: use letters, digits \
                 and underscores, beginning with a capital letter"
            )));
        }
        chosen.insert(full_name.to_owned(), name.as_str());
    }
    Ok(chosen)
}

/// Returns the names that are generated for a service with these settings, and the kinds of their
/// items.
fn generated<'a>(
    service: &'a Service,
    settings: &Settings,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    let names = &service.names;
    let server = settings.server.then_some((names.server.as_str(), "struct"));
    let client = settings.client.then_some((names.client.as_str(), "struct"));
    [
        (names.service.as_str(), "trait"),
        (names.spec.as_str(), "static"),
    ]
    .into_iter()
    .chain(server)
    .chain(client)
}

fn generated_mut<'a>(
    names: &'a mut Names,
    settings: &Settings,
) -> impl Iterator<Item = &'a mut String> {
    let Names {
        service,
        server,
        client,
        spec,
    } = names;
    let server = settings.server.then_some(server);
    let client = settings.client.then_some(client);
    [service, spec].into_iter().chain(server).chain(client)
}

fn take(service: &Service, taken: &mut Types, settings: &Settings) {
    for (name, _) in generated(service, settings) {
        let what = format!("the service `{}`", service.full_name);
        taken.add(&service.package, name, what);
    }
}
