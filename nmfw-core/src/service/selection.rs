//! Selection of the methods that a process serves.

use super::service::Service;
use crate::{Error, Method, MethodName, error::ErrorKind};

/// Returns the services with only the named methods.
pub fn select(services: Vec<Service>, names: &[MethodName]) -> Result<Vec<Service>, Error> {
    let methods = services
        .iter()
        .map(Service::served_methods)
        .collect::<Result<Vec<_>, _>>()?;
    let invalid = |problem| Error::new(ErrorKind::InvalidConfig, problem);
    if names.is_empty() {
        return Err(invalid(
            "the list of methods to serve is empty: name a method, or remove the list to serve \
             all"
            .to_owned(),
        ));
    }
    let unknown = |name: &&MethodName| !methods.iter().flatten().any(|method| name.is(*method));
    if let Some(name) = names.iter().find(unknown) {
        let there: Vec<_> = methods
            .iter()
            .flatten()
            .map(|method| match services.len() {
                1 => method.name().to_owned(),
                _ => method.full_name(),
            })
            .collect();
        return Err(invalid(format!(
            "there is no method {name:?} to serve; there are: {}",
            there.join(", ")
        )));
    }
    let limited = services.into_iter().zip(methods);
    let limited = limited.filter_map(|(mut service, methods)| {
        let named = |method: &Method| names.iter().any(|name| name.is(*method));
        let only: Vec<_> = methods.into_iter().filter(named).collect();
        service.only = Some(only.iter().copied().map(MethodName::from).collect());
        (!only.is_empty()).then_some(service)
    });
    Ok(limited.collect())
}
