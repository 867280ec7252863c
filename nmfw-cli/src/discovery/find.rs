//! [`find`]: the instances that a name on the command line means.

use std::time::Duration;

use nmfw::Connection;

use super::{Identity, Survey, Verb, survey};
use crate::{
    failure::{Exit, Failure},
    suggest::nearest,
};

/// Queries the instances of a service, named as in discovery (`calc`) or in the `.proto`
/// (`calc.Calc`); all instances without a name. With `instance`, only those whose id begins or
/// ends with it are returned.
pub(crate) async fn find(
    nats: &Connection,
    service: Option<&str>,
    instance: Option<&str>,
    verbs: &[Verb],
    limit: Duration,
) -> Result<Survey, Failure> {
    let mut survey = match service {
        None => survey(nats, None, verbs, limit).await?,
        Some(service) => of_service(nats, service, verbs, limit).await?,
    };
    if let Some(id) = instance {
        let ids: Vec<_> = survey
            .instances
            .iter()
            .map(|i| i.identity.id.clone())
            .collect();
        // The ids of a process differ at their ends only.
        let is_meant =
            |identity: &Identity| identity.id.starts_with(id) || identity.id.ends_with(id);
        survey.instances.retain(|i| is_meant(&i.identity));
        survey.silent.retain(|(identity, _)| is_meant(identity));
        if survey.instances.is_empty() {
            let service = service.unwrap_or_default();
            let failure = Failure::new(format!("{service} has no instance {id:?}"));
            return Err(failure.exit(Exit::NotFound).hint(match &ids[..] {
                [only] => format!("its only instance is {only}"),
                _ => format!(
                    "it has {} others: `nmfw ping {service}` lists them",
                    ids.len()
                ),
            }));
        }
    }
    Ok(survey)
}

async fn of_service(
    nats: &Connection,
    service: &str,
    verbs: &[Verb],
    limit: Duration,
) -> Result<Survey, Failure> {
    if is_token(service) {
        let named = survey(nats, Some(service), verbs, limit).await?;
        if !named.instances.is_empty() {
            return Ok(named);
        }
    }
    // The name may be that of the .proto, or misspelled.
    let all = survey(nats, None, &[Verb::Ping], limit).await?;
    let mut identities = all.instances.iter().map(|instance| &instance.identity);
    let full_name = |identity: &Identity| identity.metadata.get("nmfw.service").cloned();
    let meant = identities.find(|identity| full_name(identity).is_some_and(|name| name == service));
    match meant {
        Some(identity) if is_token(&identity.name) => {
            survey(nats, Some(&identity.name), verbs, limit).await
        }
        _ => Err(unknown(service, &all)),
    }
}

/// Returns whether a name can be a token of a subject, as the names of services are.
pub(super) fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(allowed)
}

fn unknown(service: &str, all: &Survey) -> Failure {
    let failure = Failure::new(format!("no service is named {service:?}")).exit(Exit::NotFound);
    if all.instances.is_empty() {
        return failure
            .hint("no service answers at all: is it connected to the same NATS account?");
    }
    let names = all.instances.iter().flat_map(|instance| {
        let full_name = instance.identity.metadata.get("nmfw.service");
        [Some(&instance.identity.name), full_name]
    });
    match nearest(service, names.flatten().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}? `nmfw ls` lists all services")),
        None => failure.hint("`nmfw ls` lists all services"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_not_asked() {
        for name in ["", "*", ">", "a.b", "a b", "$SRV", "ä", "calc.Calc"] {
            assert!(!is_token(name), "{name:?}");
        }
        assert!(is_token("acme-billing_2"));
    }
}
