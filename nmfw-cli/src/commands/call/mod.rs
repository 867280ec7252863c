//! `nmfw call`: calls a method with JSON.

pub(crate) mod fields;
mod foreign;
pub(super) mod input;
mod report;
pub(crate) mod template;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use clap_complete::ArgValueCompleter;
use futures_util::StreamExt;
use nmfw::{
    Connection, Deadline, Metadata, Status,
    middleware::{Body, Request},
};

use self::input::Input;
use crate::{
    arguments::Global,
    codec::{self, Style},
    complete,
    connection::connect,
    duration,
    failure::Failure,
    files::Files,
    output::Output,
    target::{Known, Path, Target},
};

/// The time for ending a stream when the program ends.
const MAX_GOODBYE: Duration = Duration::from_secs(1);

/// Call a method with JSON
///
/// Needs no files: the service says what its messages are. A method that takes a stream gets each
/// JSON document as it arrives, and each message of a stream is printed on a line of its own as it
/// comes. An endpoint of a service that is not made with nmfw gets the data as they are.
///
/// If the call fails, its status is printed on standard error with its details, and the exit status
/// is 64 plus its code: see `nmfw --help`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw call calc.Calc/Add '{\"values\": [1, 2]}'
  nmfw call calc.Add @request.json --deadline 500ms -m tenant=acme
  tail -f events.jsonl | nmfw call audit.Log/Record -
  nmfw call calc.Calc/Add --template")]
pub(crate) struct Call {
    /// The method: calc.Calc/Add or calc.Add
    #[arg(value_parser = Path::parse, add = ArgValueCompleter::new(complete::methods))]
    method: Path,

    /// The request as JSON, @FILE for a file, or - for standard input
    ///
    /// Without it, a method that takes a stream reads standard input, and others get an empty
    /// message.
    #[arg(add = ArgValueCompleter::new(complete::requests))]
    data: Option<String>,

    /// Send metadata; for a key that ends in -bin, the value is base64
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,

    /// Let the call fail after this time
    ///
    /// The default is that of the method, or 5s for a call with one request and one response.
    #[arg(long, short, value_name = "DURATION", value_parser = duration::parse)]
    deadline: Option<Duration>,

    /// Call the instance with this id, or the beginning or end of it
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::instances))]
    instance: Option<String>,

    /// Print fields that have their default value, too
    #[arg(long)]
    defaults: bool,

    /// Print the instance, where the time went, metadata, and the same call with the nats command
    #[arg(long, short)]
    verbose: bool,

    /// Print a request to fill in, and call nothing
    #[arg(long)]
    template: bool,

    #[command(flatten)]
    files: Files,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Call {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let files = self.files.read()?;
        let metadata = to_metadata(&self.metadata)?;
        let nats = connect(global).await?;
        let instance = self.instance.as_deref();
        match Target::find(&nats, &self.method, instance, files, global.timeout).await? {
            Target::Nmfw(known) if self.template => {
                output.print(&template::of(&known.descriptor.input())?)
            }
            Target::Nmfw(known) => {
                let outcome = self.call(&nats, &known, metadata, output).await;
                if known.method.is_streaming() {
                    // The service learns at once that a stream was cut off. There is nothing to do if
                    // this fails.
                    _ = nats.close(MAX_GOODBYE).await;
                }
                outcome
            }
            Target::Foreign { .. } if self.template => Err(Failure::new(format!(
                "{} is not made with nmfw, and does not say what its messages are",
                self.method.service
            ))),
            Target::Foreign { subject } => {
                let input = Input::open(self.data.as_deref(), false)?;
                let limit = self.deadline.unwrap_or(nmfw::DEFAULT_TIMEOUT);
                foreign::call(&nats, &subject, input, &metadata, limit, output).await
            }
        }
    }

    async fn call(
        &self,
        nats: &Connection,
        known: &Known,
        metadata: Metadata,
        output: &Output,
    ) -> Result<(), Failure> {
        let Known {
            base,
            descriptor,
            method,
            ..
        } = known;
        let input = Input::open(self.data.as_deref(), method.is_client_streaming())?;
        let is_bad = Arc::new(Mutex::new(None));
        let body = match method.is_client_streaming() {
            true => {
                let message = descriptor.input();
                let is_bad = Arc::clone(&is_bad);
                let messages = input.documents().map(move |document| {
                    let encoded = document.and_then(|(number, document)| {
                        let encoded = codec::to_message(&message, &document);
                        encoded.map_err(|why| Failure::new(format!("document {number}: {why}")))
                    });
                    encoded.map(Into::into).map_err(|failure| {
                        // The status cancels the call; the failure is what is printed.
                        *is_bad.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                        Status::cancelled("the input is not valid")
                    })
                });
                Body::from_stream(messages)
            }
            false => {
                let document = input.document().await?;
                let encoded = match document.is_empty() {
                    true => Vec::new(),
                    false => codec::to_message(&descriptor.input(), &document).map_err(|why| {
                        Failure::new(format!("the request is not valid: {why}")).hint(format!(
                            "`nmfw call {}/{} --template` prints one",
                            method.service().full_name(),
                            method.name()
                        ))
                    })?,
                };
                if self.verbose {
                    report::request(*method, base, Some(&document), &metadata, output);
                }
                Body::from(bytes::Bytes::from(encoded))
            }
        };
        if self.verbose && method.is_client_streaming() {
            report::request(*method, base, None, &metadata, output);
        }
        let mut request = Request::new(*method, body);
        *request.metadata_mut() = metadata;
        if self.verbose {
            report::ask_time(request.metadata_mut());
        }
        if let Some(deadline) = self.deadline {
            request.limit_deadline(Deadline::after(deadline));
        }
        let started = Instant::now();
        let mut timing = None;
        let outcome = self
            .exchange(nats, known, request, output, &mut timing)
            .await;
        if self.verbose {
            if let Err(status) = &outcome {
                timing = report::Timing::of(status.metadata()).or(timing);
            }
            report::time(started.elapsed(), timing.as_ref(), output);
        }
        let bad = is_bad.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (bad, outcome) {
            (Some(bad), _) => Err(bad),
            (None, Ok(outcome)) => outcome,
            (None, Err(status)) => Err(report::failure(known, &status)),
        }
    }

    /// Makes the call and prints its responses. The outer error is that of the call.
    async fn exchange(
        &self,
        nats: &Connection,
        known: &Known,
        request: Request,
        output: &Output,
        timing: &mut Option<report::Timing>,
    ) -> Result<Result<(), Failure>, Status> {
        let streams = known.method.is_server_streaming();
        let style = Style {
            pretty: !streams && output.is_terminal() && !output.is_json(),
            defaults: self.defaults,
        };
        let (metadata, body) = known.channel(nats).call(request).await?.into_parts();
        if self.verbose {
            *timing = report::Timing::of(&metadata);
            report::metadata("metadata", &metadata, output);
        }
        let mut messages = body.into_stream();
        while let Some(message) = messages.next().await {
            let json = codec::from_message(&known.descriptor.output(), message?, style);
            let printed = json
                .map_err(|why| Failure::new(format!("the response is not valid: {why}")))
                .and_then(|json| output.print(&format!("{json}\n")));
            if printed.is_err() {
                return Ok(printed);
            }
        }
        if self.verbose {
            let trailers = messages.trailers();
            *timing = report::Timing::of(&trailers).or(timing.take());
            report::metadata("trailer", &trailers, output);
        }
        Ok(Ok(()))
    }
}

/// Returns the metadata of a command line.
pub(super) fn to_metadata(pairs: &[(String, String)]) -> Result<Metadata, Failure> {
    let mut metadata = Metadata::new();
    for (key, value) in pairs {
        let added = metadata.append_wire(key, value);
        added.map_err(|error| Failure::new(format!("--metadata {key}: {error}")))?;
    }
    Ok(metadata)
}
