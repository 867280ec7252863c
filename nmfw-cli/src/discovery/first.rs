//! [`first`]: any instance of a service, as soon as one answers.

use std::time::{Duration, Instant};

use nmfw::{Connection, async_nats::ConnectionExt};

use super::{
    Instance, Verb,
    census::Census,
    find::{find, is_token},
    subject,
};
use crate::failure::{Exit, Failure};

/// Returns an instance of a service, named as in discovery or in the `.proto`, with its INFO.
///
/// # Errors
/// Fails if there is none.
pub(crate) async fn first(
    nats: &Connection,
    service: &str,
    limit: Duration,
) -> Result<Instance, Failure> {
    if let Some(instance) = quick(nats, service, limit).await {
        return Ok(instance);
    }
    let survey = find(nats, Some(service), None, &[Verb::Ping, Verb::Info], limit).await?;
    let mut instances = survey.instances.into_iter();
    let with_info = instances.find(|instance| instance.info.is_some());
    with_info.ok_or_else(|| {
        Failure::new(format!("no instance of {service} describes itself")).exit(Exit::NotFound)
    })
}

/// Returns the first instance to answer, if the name in discovery is the default.
async fn quick(nats: &Connection, service: &str, limit: Duration) -> Option<Instance> {
    let name = default_name(service);
    if !is_token(&name) {
        return None;
    }
    let started = Instant::now();
    let asking = nats
        .client()
        .request(subject(Verb::Info, Some(&name)), "".into());
    let message = tokio::time::timeout(limit, asking).await.ok()?.ok()?;
    let mut census = Census::new(&[Verb::Info], started);
    census.add(Verb::Info, &message.payload, Instant::now());
    let instance = census.finish().instances.into_iter().next()?;
    let identity = &instance.identity;
    let is_meant = service == name
        || identity
            .metadata
            .get("nmfw.service")
            .is_some_and(|full_name| full_name == service);
    is_meant.then_some(instance)
}

/// Returns the default name in discovery of a service that is named as in the `.proto`; another name as
/// it is.
fn default_name(service: &str) -> String {
    let Some((package, name)) = service.rsplit_once('.') else {
        return service.to_owned();
    };
    let lower = name.to_lowercase();
    let base = match package.rsplit('.').next() == Some(&lower) {
        true => package.to_owned(),
        false => format!("{package}.{lower}"),
    };
    base.replace('.', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol() {
        for (service, name) in [
            ("calc", "calc"),
            ("calc.Calc", "calc"),
            ("acme.billing.v1.Invoices", "acme-billing-v1-invoices"),
        ] {
            assert_eq!(default_name(service), name);
        }
    }
}
