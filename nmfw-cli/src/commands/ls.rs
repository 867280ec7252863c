//! `nmfw ls`: the services.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::view::{Page, Watch};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Instance, Survey, Verb, find},
    failure::Failure,
    output::{
        Output,
        table::{Cell, Table},
        text::{CAUTION, GOOD, NAME},
    },
};

/// List services
///
/// Lists the services that answer discovery, with their versions, the number of their instances and
/// their health. Ends as soon as no more instances answer.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only this service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    #[command(flatten)]
    watch: Watch,
}

#[derive(Serialize)]
struct Document<'a> {
    services: Vec<Service<'a>>,
    invalid_answers: usize,
}

/// The instances of one name.
#[derive(Default, Serialize)]
struct Service<'a> {
    name: &'a str,
    /// The full name in the `.proto`.
    service: Option<&'a str>,
    description: &'a str,
    versions: BTreeSet<&'a str>,
    instances: usize,
    /// `None` if the service does not report its health.
    serving: Option<usize>,
    endpoints: BTreeSet<&'a str>,
}

impl Ls {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        let page = async |_| {
            let verbs = [Verb::Ping, Verb::Info];
            let service = self.service.as_deref();
            let survey = find(&nats, service, None, &verbs, global.timeout).await?;
            page(&survey, output)
        };
        self.watch.show(output, page).await
    }
}

fn page(survey: &Survey, output: &Output) -> Result<Page, Failure> {
    let services = services(&survey.instances);
    let mut page = Page::default().about(survey);
    if output.is_json() {
        page.text = output.json(&Document {
            services,
            invalid_answers: survey.invalid,
        })?;
        return Ok(page);
    }
    let mut table = Table::new([
        "SERVICE",
        "VERSION",
        "#INSTANCES",
        "#ENDPOINTS",
        "HEALTH",
        "DESCRIPTION",
    ]);
    for service in &services {
        let versions: Vec<_> = service.versions.iter().copied().collect();
        table.row([
            Cell::peer(service.name).style(NAME),
            Cell::peer(&versions.join(", ")),
            Cell::new(service.instances.to_string()),
            Cell::new(service.endpoints.len().to_string()),
            health(service.serving, service.instances),
            Cell::peer(service.description),
        ]);
    }
    match table.is_empty() {
        true => page.warnings.push(
            "no service answered: start one, or name the NATS server or account of yours with \
             --context or --server"
                .to_owned(),
        ),
        false => page.text = table.render(output.width()),
    }
    Ok(page)
}

fn services(instances: &[Instance]) -> Vec<Service<'_>> {
    let mut services: BTreeMap<&str, Service<'_>> = BTreeMap::new();
    for instance in instances {
        let identity = &instance.identity;
        let service = services.entry(&identity.name).or_default();
        service.name = &identity.name;
        let full_name = identity.metadata.get("nmfw.service").map(String::as_str);
        service.service = service.service.or(full_name);
        service.versions.insert(&identity.version);
        service.instances += 1;
        if let Some(is_serving) = instance.is_serving() {
            *service.serving.get_or_insert(0) += usize::from(is_serving);
        }
        if let Some(info) = &instance.info {
            if service.description.is_empty() {
                service.description = &info.description;
            }
            let names = info.endpoints.iter().map(|endpoint| endpoint.name.as_str());
            service.endpoints.extend(names);
        }
    }
    services.into_values().collect()
}

/// Returns the cell of a service's health.
pub(super) fn health(serving: Option<usize>, instances: usize) -> Cell {
    match serving {
        None => Cell::unknown(),
        Some(serving) if serving == instances => Cell::new("SERVING").style(GOOD),
        Some(0) => Cell::new("NOT_SERVING").style(CAUTION),
        Some(serving) => Cell::new(format!("{serving}/{instances} SERVING")).style(CAUTION),
    }
}
