//! `nmfw bench`: the throughput and latency of a method.

mod load;
mod summary;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::ArgValueCompleter;
use nmfw::NatsChannel;

use self::{
    load::{Load, Until},
    summary::Summary,
};
use super::call::{input::Input, pair, to_metadata};
use crate::{
    arguments::Global,
    codec, complete,
    connection::connect,
    duration,
    failure::{Exit, Failure},
    files::Files,
    output::Output,
    target::{Path, Target},
};

/// Measure the throughput and latency of a method
///
/// Without --rate, each of -c callers makes its next call when the last one has ended, which shows
/// the throughput. With --rate, calls begin at their times whether or not others have ended, and
/// their latency counts from these times, so that a stall shows in the latency of all calls that it
/// delays. Ctrl-C ends it early.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw bench calc.Calc/Add '{\"values\": [1, 2]}'
  nmfw bench calc.Add --data @request.json -c 128 --rate 5000 --duration 30s --save before.json
  nmfw bench calc.Add --data @request.json -c 128 --rate 5000 --duration 30s --compare before.json")]
pub(crate) struct Bench {
    /// The method: calc.Calc/Add or calc.Add
    #[arg(value_parser = Path::parse, add = ArgValueCompleter::new(complete::methods))]
    method: Path,

    /// The request as JSON, @FILE for a file, or - for standard input
    #[arg(add = ArgValueCompleter::new(complete::requests))]
    data: Option<String>,

    /// The request, as an option
    #[arg(long = "data", value_name = "DATA", conflicts_with = "data")]
    data_option: Option<String>,

    /// The number of concurrent callers
    #[arg(long, short, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,

    /// Begin this number of calls a second
    #[arg(long, short, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Measure for this time
    #[arg(long, short, default_value = "10s", value_parser = duration::parse)]
    duration: Duration,

    /// Call for this time before measuring
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    warmup: Duration,

    /// End after this number of measured calls
    #[arg(long, short = 'n', value_name = "N")]
    requests: Option<u64>,

    /// The deadline of each call
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    deadline: Duration,

    /// Send metadata; for a key that ends in -bin, the value is base64
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,

    /// Call only the instance with this id, or the beginning or end of it
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::instances))]
    instance: Option<String>,

    /// Let calls share sessions with instances, like `Channel::multiplexed`
    #[arg(long)]
    multiplexed: bool,

    /// Write the results to a file, to compare another run with
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Compare the results with those of a file
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,

    #[command(flatten)]
    files: Files,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("write a number of calls a second, such as 5000 or 0.5"),
    }
}

impl Bench {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        // A file that cannot be read must not cost the time of the measurement.
        let before = self.compare.as_deref().map(Summary::read).transpose()?;
        let files = self.files.read()?;
        let metadata = to_metadata(&self.metadata)?;
        let input = Input::open(self.data.as_deref().or(self.data_option.as_deref()), false)?;
        let nats = connect(global).await?;
        let target = Target::find(
            &nats,
            &self.method,
            self.instance.as_deref(),
            files,
            global.timeout,
        )
        .await?;
        let Target::Nmfw(known) = target else {
            return Err(Failure::new(format!(
                "{} is not made with nmfw, and cannot be measured",
                self.method.service
            )));
        };
        if known.method.is_client_streaming() {
            return Err(Failure::new(format!(
                "{} takes a stream: methods with a single request can be measured",
                known.method
            )));
        }
        let document = input.document().await?;
        let request = match document.is_empty() {
            true => Vec::new(),
            false => codec::to_message(&known.descriptor.input(), &document)
                .map_err(|why| Failure::new(format!("the request is not valid: {why}")))?,
        };
        let mut channel = known.channel(&nats);
        if self.multiplexed {
            channel = channel.multiplexed();
        }
        let load = Load {
            channel,
            method: known.method,
            request: request.into(),
            metadata,
            deadline: self.deadline,
            concurrency: self.concurrency,
            rate: self.rate,
        };
        let measured = load.run(self.warmup, &self.until(), output).await?;
        let summary = Summary::of(known.method.full_name(), &load, &measured);
        if let Some(path) = &self.save {
            summary.write(path)?;
        }
        match output.is_json() {
            true => output.print_json(&summary)?,
            false => output.print(&summary.text(before.as_ref()))?,
        }
        match summary.calls() {
            0 => Err(Failure::new("no call succeeded").exit(Exit::Findings)),
            _ => Ok(()),
        }
    }

    fn until(&self) -> Until {
        Until {
            duration: self.duration,
            requests: self.requests,
        }
    }
}
