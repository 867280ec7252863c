//! `nmfw replay`: calls of a file, made again.

mod difference;
mod lines;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;
use futures_util::{StreamExt, stream};
use nmfw::{
    Channel, Connection, Deadline, Metadata, NatsChannel, Status,
    middleware::{Body, Request},
};
use serde::Serialize;
use serde_json::Value as Json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use self::{
    difference::{Ignored, between},
    lines::Lines,
};
use crate::{
    arguments::Global,
    codec, complete,
    connection::connect,
    failure::{Exit, Failure},
    files::Files,
    output::{
        Output,
        text::{CAUTION, count, peer},
    },
    recorded::{self, Outcome, Recorded},
    target::{Known, Path, Target},
};

/// The most calls at a time at the original pace.
const MAX_IN_FLIGHT: usize = 256;

/// Make recorded calls again, and compare the answers
///
/// Without further options, at the pace at which they were recorded. The exit status is 5 if an
/// answer differs from the recorded one.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw replay calls.jsonl
  nmfw replay calls.jsonl --speed 10 --ignore response.id --ignore status.message
  nmfw replay calls.jsonl -c 64 --service calc-mock")]
pub(crate) struct Replay {
    /// A file of `nmfw record`, or - for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// Divide the times between calls by this number
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = speed, conflicts_with = "concurrency")]
    speed: f64,

    /// Make this number of calls at a time, as fast as possible
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,

    /// Do not compare a field, such as response.items.time or status.message
    #[arg(long, value_name = "PATH", value_parser = Ignored::parse)]
    ignore: Vec<Ignored>,

    /// Call this service in place of the recorded one
    #[arg(long, value_name = "SERVICE", add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    #[command(flatten)]
    files: Files,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("it must be a number above zero, such as 10 or 0.5".to_owned()),
    }
}

/// A call that is about to be made.
struct Due {
    line: u64,
    call: Recorded,
    target: Arc<Known>,
}

/// What became of a call.
#[derive(Debug, Serialize)]
struct Report {
    line: u64,
    method: String,
    differences: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    calls: usize,
    different: usize,
    /// Calls of which no answer was recorded.
    not_compared: usize,
}

/// Makes calls due, one after the other.
struct Player {
    nats: Connection,
    lines: Lines,
    /// The methods of the calls so far.
    targets: HashMap<String, Arc<Known>>,
    service: Option<String>,
    files: Files,
    timeout: Duration,
    /// `None` for as fast as possible.
    speed: Option<f64>,
    /// When the first call was made, and its time in the file.
    begin: Option<(Instant, OffsetDateTime)>,
}

impl Replay {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let lines = Lines::open(&self.file)?;
        let nats = connect(global).await?;
        let player = Player {
            nats: nats.clone(),
            lines,
            targets: HashMap::new(),
            service: self.service,
            files: self.files,
            timeout: global.timeout,
            speed: self.concurrency.is_none().then_some(self.speed),
            begin: None,
        };
        let at_a_time = self.concurrency.map_or(MAX_IN_FLIGHT, usize::from);
        let due = stream::unfold(Some(player), |player| async move {
            let mut player = player?;
            match player.next().await {
                Ok(Some(due)) => Some((Ok(due), Some(player))),
                Ok(None) => None,
                Err(failure) => Some((Err(failure), None)),
            }
        });
        let ignored = &self.ignore;
        let nats = &nats;
        let calls = due.map(|due| async move {
            let due = due?;
            let outcome = due.call(nats).await?;
            Ok::<_, Failure>(due.compare(&outcome, ignored))
        });
        let mut calls = std::pin::pin!(calls.buffer_unordered(at_a_time));
        let mut summary = Summary::default();
        let mut stop = std::pin::pin!(async {
            nmfw::shutdown_signal().recv().await;
        });
        loop {
            tokio::select! {
                () = &mut stop => break,
                report = calls.next() => match report {
                    None => break,
                    Some(report) => summary.add(report?, output)?,
                },
            }
        }
        summary.finish(output)
    }
}

impl Player {
    /// Waits until the next call is due; `None` at the end.
    async fn next(&mut self) -> Result<Option<Due>, Failure> {
        let Some((line, call)) = self.lines.next()? else {
            return Ok(None);
        };
        let target = self.target(line, &call).await?;
        if let Some(speed) = self.speed {
            let time = OffsetDateTime::parse(&call.time, &Rfc3339).map_err(|error| {
                Failure::new(format!("line {line}: the time is not valid: {error}"))
            })?;
            let (begin, first) = *self.begin.get_or_insert_with(|| (Instant::now(), time));
            // A call from before the first one is due at once.
            let after = (time - first).as_seconds_f64().max(0.0) / speed;
            let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
            if let Some(due) = begin.checked_add(after) {
                tokio::time::sleep_until(due).await;
            }
        }
        Ok(Some(Due { line, call, target }))
    }

    async fn target(&mut self, line: u64, call: &Recorded) -> Result<Arc<Known>, Failure> {
        if let Some(target) = self.targets.get(&call.method) {
            return Ok(Arc::clone(target));
        }
        let mut path = Path::parse(&call.method)
            .map_err(|why| Failure::new(format!("line {line}: method: {why}")))?;
        if let Some(service) = &self.service {
            path.service = service.clone();
        }
        let files = self.files.read()?;
        let found = Target::find(&self.nats, &path, None, files, self.timeout).await?;
        let Target::Nmfw(known) = found else {
            return Err(Failure::new(format!(
                "line {line}: {} is not made with nmfw, and its messages are not known",
                path.service
            ))
            .hint("name its files with --proto FILE"));
        };
        if known.method.is_streaming() {
            return Err(Failure::new(format!(
                "line {line}: {} is a method with streams, which are not recorded",
                call.method
            )));
        }
        let known: Arc<Known> = known.into();
        self.targets.insert(call.method.clone(), Arc::clone(&known));
        Ok(known)
    }
}

impl Due {
    /// Makes the call.
    async fn call(&self, nats: &Connection) -> Result<Outcome, Failure> {
        let known = &*self.target;
        let wrong = |what: &str, why: &dyn std::fmt::Display| {
            Failure::new(format!("line {}: {what} is not valid: {why}", self.line))
        };
        let document = self.call.request.to_string();
        let encoded = codec::to_message(&known.descriptor.input(), document.as_bytes())
            .map_err(|why| wrong("the request", &why))?;
        let mut metadata = Metadata::new();
        for (key, values) in &self.call.metadata {
            for value in values {
                let added = metadata.append_wire(key, value);
                added.map_err(|error| wrong("the metadata", &error))?;
            }
        }
        let mut request = Request::new(known.method, Body::from(bytes::Bytes::from(encoded)));
        *request.metadata_mut() = metadata;
        if let Some(millis) = self.call.timeout_ms {
            request.limit_deadline(Deadline::after(Duration::from_millis(millis)));
        }
        let channel = Channel::new(nats).subject(&known.base);
        let answered = match channel.call(request).await {
            Ok(response) => {
                let message = response.body().cloned().unwrap_or_default();
                recorded::message(&known.descriptor.output(), message)
                    .map(Outcome::of_response)
                    .map_err(|why| Status::internal(format!("the response is not valid: {why}")))
            }
            Err(status) => Err(status),
        };
        Ok(answered.unwrap_or_else(|status| Outcome::of_status(&known.schema, &status)))
    }

    /// Compares an answer with the recorded one; `None` if there is none.
    fn compare(&self, outcome: &Outcome, ignored: &[Ignored]) -> Option<Report> {
        if self.call.outcome.is_unknown() {
            return None;
        }
        let json = |outcome: &Outcome| serde_json::to_value(outcome).unwrap_or(Json::Null);
        Some(Report {
            line: self.line,
            method: self.call.method.clone(),
            differences: between(&json(&self.call.outcome), &json(outcome), ignored),
        })
    }
}

impl Summary {
    fn add(&mut self, report: Option<Report>, output: &Output) -> Result<(), Failure> {
        self.calls += 1;
        let Some(report) = report else {
            self.not_compared += 1;
            return Ok(());
        };
        if report.differences.is_empty() {
            return Ok(());
        }
        self.different += 1;
        if output.is_json() {
            return output.print_json(&report);
        }
        let (line, method) = (report.line, peer(&report.method));
        let mut text = format!("{CAUTION}line {line}{CAUTION:#}: {method}\n");
        for difference in &report.differences {
            let difference = nmfw_core::escape::Escaped::up_to(difference, 400);
            text.push_str(&format!("  {difference}\n"));
        }
        output.print(&text)
    }

    fn finish(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            output.print_json(self)?;
        } else {
            let calls = count(self.calls, "call");
            let rest = match self.not_compared {
                0 => String::new(),
                number => format!(", {number} without a recorded answer"),
            };
            output.print(&format!("{calls}, {} different{rest}\n", self.different))?;
        }
        match self.different {
            0 => Ok(()),
            number => Err(Failure::new(match number {
                1 => "1 answer differs from the recorded one".to_owned(),
                _ => format!("{number} answers differ from the recorded ones"),
            })
            .hint("leave out what is meant to differ with --ignore PATH")
            .exit(Exit::Findings)),
        }
    }
}
