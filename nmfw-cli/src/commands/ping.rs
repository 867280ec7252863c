//! `nmfw ping`: the instances, and whether they serve.

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
    discovery::{Survey, Verb, find},
    duration,
    failure::{Exit, Failure},
    output::{
        Output,
        table::{Cell, Table},
        text::{NAME, count},
    },
};

/// List instances, their health and the time they take to answer
///
/// Ends with status 5 if an instance does not serve, and with 4 if there is none of this service.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// Only this service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    /// Only the instance with this id, or the beginning or end of it
    #[arg(requires = "service", add = ArgValueCompleter::new(complete::instances))]
    instance: Option<String>,

    #[command(flatten)]
    watch: Watch,
}

#[derive(Serialize)]
struct Document<'a> {
    instances: Vec<Instance<'a>>,
    invalid_answers: usize,
}

#[derive(Serialize)]
struct Instance<'a> {
    name: &'a str,
    version: &'a str,
    id: &'a str,
    /// `None` if it does not report its health.
    serving: Option<bool>,
    micros: u128,
}

impl Ping {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        let page = async |_| {
            let verbs = [Verb::Ping, Verb::Info];
            let (service, instance) = (self.service.as_deref(), self.instance.as_deref());
            let survey = find(&nats, service, instance, &verbs, global.timeout).await?;
            page(&survey, output)
        };
        self.watch.show(output, page).await
    }
}

fn page(survey: &Survey, output: &Output) -> Result<Page, Failure> {
    let mut page = Page::default().about(survey);
    let instances = || survey.instances.iter();
    let bad = instances()
        .filter(|i| i.is_serving() == Some(false))
        .count();
    if bad > 0 {
        let verb = if bad == 1 { "does" } else { "do" };
        page.verdict = Some(
            Failure::new(format!("{} {verb} not serve", count(bad, "instance")))
                .exit(Exit::Findings)
                .hint("`nmfw stats --instances` shows the checks that fail"),
        );
    }
    if output.is_json() {
        let instances = instances().map(|instance| Instance {
            name: &instance.identity.name,
            version: &instance.identity.version,
            id: &instance.identity.id,
            serving: instance.is_serving(),
            micros: instance.after.as_micros(),
        });
        page.text = output.json(&Document {
            instances: instances.collect(),
            invalid_answers: survey.invalid,
        })?;
        return Ok(page);
    }
    let mut table = Table::new(["SERVICE", "VERSION", "INSTANCE", "HEALTH", "#TIME"]);
    for instance in instances() {
        let serving = instance.is_serving().map(usize::from);
        table.row([
            Cell::peer(&instance.identity.name).style(NAME),
            Cell::peer(&instance.identity.version),
            Cell::peer(&instance.identity.id),
            health(serving, 1),
            Cell::new(duration::short(instance.after)),
        ]);
    }
    match table.is_empty() {
        true => page.warnings.push("no instance answered".to_owned()),
        false => page.text = table.render(output.width()),
    }
    Ok(page)
}
