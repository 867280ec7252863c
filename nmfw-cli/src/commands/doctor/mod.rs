//! `nmfw doctor`: diagnosis of problems.

mod finding;
mod instances;
mod probe;
mod services;

use clap::Args;
use clap_complete::ArgValueCompleter;
use nmfw::{Connection, async_nats::ConnectionExt};
use serde::Serialize;

use self::finding::{Finding, Level};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Survey, Verb, find},
    duration,
    failure::{Exit, Failure},
    output::{
        Output,
        text::{STRONG, count},
    },
};

/// The payload below which ordinary messages need sessions, in bytes.
const SMALL_PAYLOAD: usize = 64 * 1024;

/// Diagnose problems, and suggest how to solve them
///
/// Checks the NATS server and this connection, and for each service whether its instances answer,
/// serve, have equal versions, schemas and queue groups, and are not full. Ends with status 5 if
/// there is a problem.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Only this service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    /// Also send each method a call that has no time left
    ///
    /// That shows whether this user may call the method, whether it is answered, and how far the
    /// clock of the answering instance is off. No handler sees such calls, but services count them as
    /// errors.
    #[arg(long)]
    probe: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    findings: &'a [Finding],
}

impl Doctor {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        let verbs = [Verb::Ping, Verb::Info, Verb::Stats];
        let service = self.service.as_deref();
        let survey = find(&nats, service, None, &verbs, global.timeout).await?;
        let mut findings = server(&nats, &survey);
        findings.extend(answers(&survey));
        findings.extend(services::check(&survey.instances));
        findings.extend(instances::check(&nats, &survey.instances, global.timeout).await);
        if self.probe {
            findings.extend(probe::check(&nats, &survey.instances, global.timeout).await);
        }
        match output.is_json() {
            true => output.print_json(&Document {
                findings: &findings,
            })?,
            false => output.print(&findings.iter().map(Finding::text).collect::<String>())?,
        }
        verdict(&findings, output)
    }
}

fn verdict(findings: &[Finding], output: &Output) -> Result<(), Failure> {
    let problems = findings
        .iter()
        .filter(|finding| finding.is(Level::Problem))
        .count();
    match problems {
        0 if output.is_json() => Ok(()),
        0 => output.print(&format!("\n{STRONG}no problem found{STRONG:#}\n")),
        _ => {
            Err(Failure::new(format!("{} found", count(problems, "problem"))).exit(Exit::Findings))
        }
    }
}

/// Checks the NATS server and the connection.
fn server(nats: &Connection, survey: &Survey) -> Vec<Finding> {
    let Some(info) = nats.server_info() else {
        return Vec::new();
    };
    let mut about = format!("{} {}", info.server_name, info.version);
    if let Some(cluster) = &info.cluster {
        about.push_str(&format!(", cluster {cluster}"));
    }
    let nearest = survey.instances.iter().map(|instance| instance.after).min();
    if let Some(nearest) = nearest {
        let nearest = duration::short(nearest);
        about.push_str(&format!("; the nearest instance answers in {nearest}"));
    }
    let mut findings = vec![Finding::good("NATS server", about)];
    if info.lame_duck_mode {
        findings.push(
            Finding::note("NATS server", "it is about to shut down")
                .advice("services and clients move to another server, if they know one"),
        );
    }
    let bytes = nats.max_payload();
    if bytes < SMALL_PAYLOAD {
        findings.push(
            Finding::note(
                "NATS server",
                format!("its max_payload is only {bytes} bytes"),
            )
            .advice("larger calls use sessions, which permissions must allow; or raise it"),
        );
    }
    findings
}

/// Checks the answers of discovery.
fn answers(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    if survey.instances.is_empty() {
        findings.push(Finding::note("discovery", "no service answers").advice(
            "start one, or name the NATS server or account of yours with --server or --context",
        ));
    }
    for (identity, verb) in &survey.silent {
        findings.push(
            Finding::problem(
                format!("{} {}", identity.name, identity.id),
                format!("it answers, but not to {verb}"),
            )
            .advice("look at its log; it may be overloaded, or hang"),
        );
    }
    if let Some(first) = &survey.first_invalid {
        let text = format!("{} not valid; the first: {first}", survey.invalid);
        findings.push(
            Finding::problem("discovery", format!("answers that are {text}"))
                .advice("find the program that subscribes to $SRV.> and sends them"),
        );
    }
    if survey.is_cut {
        findings.push(
            Finding::problem("discovery", "there are too many answers to read all")
                .advice("find the program that answers so often, or name a service"),
        );
    }
    findings
}
