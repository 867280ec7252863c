//! `nmfw info`: the description of a service.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::{
    ls::health,
    view::{Page, Watch},
};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Instance, Survey, Verb, find},
    failure::Failure,
    output::{
        Output,
        table::{Cell, Table},
        text::{NAME, STRONG, peer},
    },
};

/// Show a service: its metadata, endpoints and instances
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: String,

    /// Only the instance with this id, or the beginning or end of it
    #[arg(add = ArgValueCompleter::new(complete::instances))]
    instance: Option<String>,

    #[command(flatten)]
    watch: Watch,
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    service: Option<&'a str>,
    description: &'a str,
    versions: BTreeSet<&'a str>,
    metadata: BTreeMap<&'a str, BTreeSet<&'a str>>,
    endpoints: Vec<Endpoint<'a>>,
    instances: Vec<InstanceInfo<'a>>,
    invalid_answers: usize,
}

/// An endpoint, and the instances that have it.
#[derive(Serialize)]
struct Endpoint<'a> {
    name: &'a str,
    subject: &'a str,
    /// `None` if the service does not report it.
    queue_group: Option<&'a str>,
    method: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    instances: usize,
}

#[derive(Serialize)]
struct InstanceInfo<'a> {
    id: &'a str,
    version: &'a str,
    serving: Option<bool>,
    endpoints: usize,
    schema: Option<&'a str>,
}

impl Info {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        let page = async |_| {
            let verbs = [Verb::Ping, Verb::Info];
            let (service, instance) = (Some(self.service.as_str()), self.instance.as_deref());
            let survey = find(&nats, service, instance, &verbs, global.timeout).await?;
            page(&survey, output)
        };
        self.watch.show(output, page).await
    }
}

fn page(survey: &Survey, output: &Output) -> Result<Page, Failure> {
    let mut page = Page::default().about(survey);
    let document = document(survey);
    page.text = match output.is_json() {
        true => output.json(&document)?,
        false => text(&document, output.width()),
    };
    Ok(page)
}

fn document(survey: &Survey) -> Document<'_> {
    let mut document = Document {
        name: "",
        service: None,
        description: "",
        versions: BTreeSet::new(),
        metadata: BTreeMap::new(),
        endpoints: Vec::new(),
        instances: Vec::new(),
        invalid_answers: survey.invalid,
    };
    let mut endpoints: BTreeMap<_, Endpoint<'_>> = BTreeMap::new();
    for Instance { identity, info, .. } in &survey.instances {
        document.name = &identity.name;
        document.versions.insert(&identity.version);
        for (key, value) in &identity.metadata {
            match key.as_str() {
                "nmfw.service" => document.service = Some(value),
                "nmfw.health" => {}
                _ => {
                    document.metadata.entry(key).or_default().insert(value);
                }
            }
        }
        let info = info.as_ref();
        if let Some(info) = info
            && document.description.is_empty()
        {
            document.description = &info.description;
        }
        for endpoint in info.into_iter().flat_map(|info| &info.endpoints) {
            let key = (&endpoint.name, &endpoint.subject, &endpoint.queue_group);
            let known = endpoints.entry(key).or_insert_with(|| Endpoint {
                name: &endpoint.name,
                subject: &endpoint.subject,
                queue_group: endpoint.queue_group.as_deref(),
                method: endpoint.method(),
                metadata: &endpoint.metadata,
                instances: 0,
            });
            known.instances += 1;
        }
    }
    document.instances = survey.instances.iter().map(instance).collect();
    document.endpoints = endpoints.into_values().collect();
    document
}

fn instance(instance: &Instance) -> InstanceInfo<'_> {
    let identity = &instance.identity;
    InstanceInfo {
        id: &identity.id,
        version: &identity.version,
        serving: instance.is_serving(),
        endpoints: instance
            .info
            .as_ref()
            .map_or(0, |info| info.endpoints.len()),
        schema: identity.metadata.get("nmfw.schema").map(String::as_str),
    }
}

fn text(document: &Document<'_>, width: Option<usize>) -> String {
    let versions: Vec<_> = document.versions.iter().copied().collect();
    let (name, versions) = (peer(document.name), peer(&versions.join(", ")));
    let mut text = format!("{NAME}{name}{NAME:#} {versions}\n");
    if !document.description.is_empty() {
        text.push_str(&format!("  {}\n", peer(document.description)));
    }
    if let Some(service) = document.service {
        text.push_str(&format!("  {STRONG}.proto:{STRONG:#} {}\n", peer(service)));
    }
    for (key, values) in &document.metadata {
        let values: Vec<_> = values.iter().copied().collect();
        text.push_str(&format!(
            "  {STRONG}{}:{STRONG:#} {}\n",
            peer(key),
            peer(&values.join(", "))
        ));
    }
    let all = document.instances.len();
    let mut endpoints = Table::new(["ENDPOINT", "SUBJECT", "QUEUE GROUP", "INSTANCES"]);
    for endpoint in &document.endpoints {
        let group = match endpoint.queue_group {
            Some("") => Cell::new("none"),
            group => group.map_or_else(Cell::unknown, Cell::peer),
        };
        let instances = match endpoint.instances == all {
            true => "all".to_owned(),
            false => format!("{} of {all}", endpoint.instances),
        };
        endpoints.row([
            Cell::peer(endpoint.name).style(NAME),
            Cell::peer(endpoint.subject),
            group,
            Cell::new(instances),
        ]);
    }
    let mut instances = Table::new(["INSTANCE", "VERSION", "#ENDPOINTS", "HEALTH", "SCHEMA"]);
    for instance in &document.instances {
        instances.row([
            Cell::peer(instance.id).style(NAME),
            Cell::peer(instance.version),
            Cell::new(instance.endpoints.to_string()),
            health(instance.serving.map(usize::from), 1),
            // The beginning tells schemas apart.
            instance.schema.map_or_else(Cell::unknown, |hash| {
                Cell::peer(&hash.chars().take(12).collect::<String>())
            }),
        ]);
    }
    for table in [endpoints, instances] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table.render(width));
        }
    }
    text
}
