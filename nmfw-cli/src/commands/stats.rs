//! `nmfw stats`: the counters and the load of endpoints.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use clap::Args;
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::view::{Page, Watch};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{EndpointStats, Instance, Survey, Verb, find},
    duration,
    failure::Failure,
    output::{
        Output,
        table::{Cell, Table},
        text::{CAUTION, ERROR, NAME, peer},
    },
};

/// Show requests, errors, time and load of endpoints
///
/// Requests and errors are counted since each instance started. With --watch, the rate of requests
/// is shown too.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only this service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    /// Only the instance with this id, or the beginning or end of it
    #[arg(requires = "service", add = ArgValueCompleter::new(complete::instances))]
    instance: Option<String>,

    /// Show each instance by itself
    #[arg(long, short)]
    instances: bool,

    #[command(flatten)]
    watch: Watch,
}

#[derive(Serialize)]
struct Document<'a> {
    endpoints: Vec<Row<'a>>,
    invalid_answers: usize,
}

/// The figures of an endpoint, of one instance or of all.
#[derive(Default, Serialize)]
struct Row<'a> {
    service: &'a str,
    version: Option<&'a str>,
    instance: Option<&'a str>,
    /// When the instance started.
    started: Option<&'a str>,
    endpoint: &'a str,
    instances: usize,
    requests: u64,
    errors: u64,
    /// Nanoseconds that handlers took in total.
    processing_nanos: u64,
    average_nanos: u64,
    /// Requests a second since the last time, with `--watch`.
    rate: Option<f64>,
    /// The load, which only services of nmfw report.
    running: Option<u64>,
    waiting: Option<u64>,
    concurrency: Option<u64>,
    queue: Option<u64>,
    last_error: &'a str,
}

/// A service, its instance and an endpoint.
type Key = (String, String, String);

impl Stats {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        // The requests of each endpoint the last time.
        let mut before = HashMap::new();
        let page = async |since| {
            let verbs = [Verb::Ping, Verb::Stats];
            let (service, instance) = (self.service.as_deref(), self.instance.as_deref());
            let survey = find(&nats, service, instance, &verbs, global.timeout).await?;
            let by_instance = self.instances || self.instance.is_some();
            let rates = rates(&survey, &mut before, since);
            page(&survey, by_instance, rates.as_ref(), output)
        };
        self.watch.show(output, page).await
    }
}

/// Returns the requests a second of each endpoint, and keeps their counts for the next time.
fn rates(
    survey: &Survey,
    before: &mut HashMap<Key, u64>,
    since: Option<Duration>,
) -> Option<HashMap<Key, f64>> {
    let mut counts = HashMap::new();
    for (instance, endpoint) in endpoints(survey) {
        counts.insert(key(instance, endpoint), endpoint.num_requests);
    }
    let last = std::mem::replace(before, counts);
    let seconds = since?.as_secs_f64();
    let rates = before.iter().map(|(key, count)| {
        // An instance that is new has made its requests since the last time.
        let last = last.get(key).copied().unwrap_or(0);
        (key.clone(), count.saturating_sub(last) as f64 / seconds)
    });
    Some(rates.collect())
}

fn endpoints(survey: &Survey) -> impl Iterator<Item = (&Instance, &EndpointStats)> {
    survey.instances.iter().flat_map(|instance| {
        let endpoints = instance.stats.iter().flat_map(|stats| &stats.endpoints);
        endpoints.map(move |endpoint| (instance, endpoint))
    })
}

fn key(instance: &Instance, endpoint: &EndpointStats) -> Key {
    let identity = &instance.identity;
    (
        identity.name.clone(),
        identity.id.clone(),
        endpoint.name.clone(),
    )
}

fn page(
    survey: &Survey,
    by_instance: bool,
    rates: Option<&HashMap<Key, f64>>,
    output: &Output,
) -> Result<Page, Failure> {
    let mut page = Page::default().about(survey);
    let rows = rows(survey, by_instance, rates);
    if output.is_json() {
        page.text = output.json(&Document {
            endpoints: rows,
            invalid_answers: survey.invalid,
        })?;
        return Ok(page);
    }
    if rows.is_empty() {
        page.warnings.push("no endpoint answered".to_owned());
        return Ok(page);
    }
    page.text = text(&rows, by_instance, rates.is_some(), output.width());
    page.text.push_str(&failing(survey));
    Ok(page)
}

fn rows<'a>(
    survey: &'a Survey,
    by_instance: bool,
    rates: Option<&HashMap<Key, f64>>,
) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<_, Row<'_>> = BTreeMap::new();
    for (instance, endpoint) in endpoints(survey) {
        let identity = &instance.identity;
        let id = by_instance.then_some(identity.id.as_str());
        let row = rows
            .entry((&identity.name, id, &endpoint.name))
            .or_default();
        row.service = &identity.name;
        row.version = by_instance.then_some(&identity.version);
        row.instance = id;
        let stats = instance.stats.as_ref().filter(|_| by_instance);
        row.started = stats.map(|stats| stats.started.as_str());
        row.endpoint = &endpoint.name;
        row.instances += 1;
        // A hostile instance can report any number.
        row.requests = row.requests.saturating_add(endpoint.num_requests);
        row.errors = row.errors.saturating_add(endpoint.num_errors);
        row.processing_nanos = row
            .processing_nanos
            .saturating_add(endpoint.processing_time);
        row.average_nanos = row.processing_nanos.checked_div(row.requests).unwrap_or(0);
        if let Some(rate) = rates.and_then(|rates| rates.get(&key(instance, endpoint))) {
            *row.rate.get_or_insert(0.0) += rate;
        }
        if let Some(load) = endpoint.load() {
            for (sum, number) in [
                (&mut row.running, load.running),
                (&mut row.waiting, load.waiting),
                (&mut row.concurrency, load.concurrency),
                (&mut row.queue, load.queue),
            ] {
                *sum = Some(sum.unwrap_or(0).saturating_add(number));
            }
        }
        if !endpoint.last_error.is_empty() {
            row.last_error = &endpoint.last_error;
        }
    }
    rows.into_values().collect()
}

fn text(rows: &[Row<'_>], by_instance: bool, has_rates: bool, width: Option<usize>) -> String {
    // The columns of all tables; some are left out.
    let mut table = Table::new([
        "SERVICE",
        "INSTANCE",
        "ENDPOINT",
        "#REQUESTS",
        "#RATE",
        "#ERRORS",
        "#AVERAGE",
        "#RUNNING",
        "#WAITING",
        "LAST ERROR",
    ]);
    for row in rows {
        let errors = Cell::new(row.errors.to_string());
        let waiting = Cell::from(row.waiting);
        table.row([
            Cell::peer(row.service).style(NAME),
            row.instance.map_or_else(Cell::unknown, Cell::peer),
            Cell::peer(row.endpoint).style(NAME),
            Cell::new(row.requests.to_string()),
            row.rate
                .map_or_else(Cell::unknown, |rate| Cell::new(format!("{rate:.1}/s"))),
            match row.errors {
                0 => errors,
                _ => errors.style(ERROR),
            },
            match row.requests {
                0 => Cell::unknown(),
                _ => Cell::new(duration::short(Duration::from_nanos(row.average_nanos))),
            },
            Cell::from(row.running),
            match row.waiting {
                Some(1..) => waiting.style(CAUTION),
                _ => waiting,
            },
            Cell::peer(row.last_error),
        ]);
    }
    if !by_instance {
        table.remove("INSTANCE");
    }
    if !has_rates {
        table.remove("RATE");
    }
    table.render(width)
}

/// Returns the checks that fail, a line for each.
fn failing(survey: &Survey) -> String {
    let mut text = String::new();
    for instance in &survey.instances {
        // All endpoints of an instance have its health.
        let endpoint = instance
            .stats
            .iter()
            .flat_map(|stats| &stats.endpoints)
            .next();
        let Some(endpoint) = endpoint.filter(|e| e.health() == Some("NOT_SERVING")) else {
            continue;
        };
        let id = peer(&instance.identity.id);
        for (check, error) in endpoint.failing() {
            text.push_str(&format!(
                "{CAUTION}NOT_SERVING{CAUTION:#} {} {id}: {}: {}\n",
                peer(&instance.identity.name),
                peer(&check),
                peer(&error)
            ));
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\n{text}"),
    }
}
