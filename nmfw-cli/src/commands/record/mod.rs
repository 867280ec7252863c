//! `nmfw record`: the calls of a service as JSON lines.

mod pending;
mod seen;
mod writer;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;
use futures_util::{FutureExt, StreamExt};
use nmfw::{
    Connection, ConnectionEvent, ConnectionEvents, DEFAULT_TIMEOUT,
    async_nats::{ConnectionExt, Message, Subscriber},
};
use nmfw_schema::{Schema, prost_reflect::ServiceDescriptor};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::{pending::Pending, seen::Head, writer::Writer};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::first,
    duration,
    facts::Facts,
    failure::{Exit, Failure},
    files::Files,
    output::{
        Output,
        text::{FAINT, count},
    },
    recorded::{self, Outcome, Recorded},
    schema,
};

/// The time after a deadline in which a reply may still come.
const AFTER: Duration = Duration::from_secs(1);

/// The interval at which calls that got no reply are written.
const SWEEP: Duration = Duration::from_millis(200);

/// Record the calls of a service as JSON lines
///
/// Each line has the time, the method, metadata, the request, the response or status, and the
/// duration. Ends with Ctrl-C.
///
/// What can be seen: calls that are one NATS request and one reply, if this user may subscribe to
/// the service's subject and to the inboxes of its callers. Calls in sessions, which are those of
/// streams, of large messages and of `Channel::multiplexed`, are sealed and cannot be read: their
/// sessions are counted. Calls before a subscription, and replies that do not come, are missing.
///
/// While it runs, callers of a service without instances wait until their deadline, because NATS
/// takes it for a service that could answer.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw record calc -o calls.jsonl
  nmfw record calc --count 1000 > calls.jsonl
  nmfw replay calls.jsonl")]
pub(crate) struct Record {
    /// The service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: String,

    /// Write to a new file, not to standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// End after this number of calls
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    duration: Option<Duration>,

    /// The inboxes of the callers, if they have a prefix of their own
    #[arg(long, value_name = "SUBJECT", default_value = "_INBOX.>")]
    inboxes: String,

    #[command(flatten)]
    files: Files,
}

/// What was seen.
#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    unanswered: u64,
    sessions: u64,
    unreadable: u64,
    first_unreadable: Option<String>,
    dropped: u64,
}

struct Recorder<'a> {
    base: String,
    schema: Schema,
    service: ServiceDescriptor,
    pending: Pending,
    counts: Counts,
    writer: Writer<'a>,
    count: Option<u64>,
}

impl Record {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let files = self.files.read()?;
        let nats = connect(global).await?;
        let instance = first(&nats, &self.service, global.timeout).await?;
        let facts = Facts::of(std::slice::from_ref(&instance))?;
        let schema = match files {
            Some(files) => files,
            None => schema::of_instance(&nats, &facts.base, &instance, global.timeout).await?,
        };
        let service = schema.service(&facts.full_name).ok_or_else(|| {
            Failure::new(format!("the schema has no service {}", facts.full_name))
                .exit(Exit::NotFound)
                .hint("the files must be those from which the service was built")
        })?;
        let mut events = nats.events();
        let requests = subscribe(&nats, &format!("{}.*", facts.base), &mut events, global).await?;
        let replies = subscribe(&nats, &self.inboxes, &mut events, global).await?;
        let mut recorder = Recorder {
            base: facts.base,
            schema,
            service,
            pending: Pending::default(),
            counts: Counts::default(),
            writer: Writer::open(self.output.as_deref(), output)?,
            count: self.count,
        };
        let note = format!("Recording {}; Ctrl-C ends it", facts.name);
        output.note(&format!("{FAINT}{note}{FAINT:#}\n"));
        let limit = self.duration;
        recorder.run(requests, replies, events, limit).await?;
        recorder.writer.flush()?;
        recorder.counts.report(output);
        Ok(())
    }
}

/// Subscribes, and checks that it is allowed.
async fn subscribe(
    nats: &Connection,
    subject: &str,
    events: &mut ConnectionEvents,
    global: &Global,
) -> Result<Subscriber, Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot subscribe to {subject}: {error}")).exit(Exit::Unconnected)
    };
    let client = nats.client();
    let subscriber = client.subscribe(subject.to_owned()).await;
    let subscriber = subscriber.map_err(|error| lost(&error))?;
    // A denial comes before the reply to a request that is sent later.
    let flushed = client.request(client.new_inbox(), "".into());
    _ = tokio::time::timeout(global.timeout, flushed).await;
    while let Some(Some(event)) = events.recv().now_or_never() {
        denied(event)?;
    }
    Ok(subscriber)
}

impl Recorder<'_> {
    async fn run(
        &mut self,
        mut requests: Subscriber,
        mut replies: Subscriber,
        mut events: ConnectionEvents,
        limit: Option<Duration>,
    ) -> Result<(), Failure> {
        let signal = nmfw::shutdown_signal();
        let stop = async {
            match limit {
                Some(limit) => tokio::select! {
                    () = tokio::time::sleep(limit) => {}
                    _ = signal.recv() => {}
                },
                None => _ = signal.recv().await,
            }
        };
        let mut stop = std::pin::pin!(stop);
        let mut sweep = tokio::time::interval(SWEEP);
        while !self.is_done() {
            tokio::select! {
                biased;
                () = &mut stop => break,
                request = requests.next() => match request {
                    Some(request) => self.request(&request)?,
                    None => return Err(closed()),
                },
                reply = replies.next() => match reply {
                    Some(reply) => {
                        // Its request arrived before, on the other subscription.
                        while let Some(Some(request)) = requests.next().now_or_never() {
                            self.request(&request)?;
                        }
                        self.reply(&reply)?;
                    }
                    None => return Err(closed()),
                },
                Some(event) = events.recv() => {
                    if let ConnectionEvent::SlowConsumer { dropped, .. } = event {
                        self.counts.dropped += dropped;
                    }
                    // A denial can be reported after the reply that follows it.
                    denied(event)?;
                }
                _ = sweep.tick() => {
                    let expired = self.pending.expired(Some(Instant::now()));
                    self.unanswered(expired)?;
                    // Readers of the lines need not wait for a whole buffer.
                    self.writer.flush()?;
                }
            }
        }
        if !self.is_done() {
            let rest = self.pending.expired(None);
            self.unanswered(rest)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.count.is_some_and(|count| self.counts.calls >= count)
    }

    fn request(&mut self, message: &Message) -> Result<(), Failure> {
        let name = message.subject.strip_prefix(self.base.as_str());
        let name = name
            .and_then(|name| name.strip_prefix('.'))
            .unwrap_or_default();
        if name == "_open" {
            self.counts.sessions += 1;
        }
        let Some(method) = self.service.methods().find(|method| method.name() == name) else {
            return Ok(());
        };
        // Without a reply, the service does not run it.
        let Some(reply) = &message.reply else {
            return Ok(());
        };
        let head = Head::of(message);
        let full_name = format!("{}/{name}", self.service.full_name());
        let request = match seen::request(&method, &head, message) {
            Ok(request) => request,
            Err(why) => {
                self.unreadable(format!("a request of {full_name}: {why}"));
                return Ok(());
            }
        };
        let wait = head
            .timeout_ms
            .map_or(DEFAULT_TIMEOUT, Duration::from_millis);
        let call = Recorded {
            time: now(),
            method: full_name,
            metadata: recorded::metadata(&head.metadata),
            timeout_ms: head.timeout_ms,
            request,
            outcome: Outcome::default(),
            duration_ms: None,
        };
        // JSON takes several times as much in memory.
        let bytes = message.length.saturating_mul(4);
        let wait = wait.saturating_add(AFTER);
        let out = self.pending.add(reply.to_string(), call, bytes, wait);
        self.unanswered(out)
    }

    fn reply(&mut self, message: &Message) -> Result<(), Failure> {
        let Some(waiting) = self.pending.take(&message.subject) else {
            return Ok(());
        };
        let mut call = waiting.call;
        let name = call.method.rsplit('/').next().unwrap_or_default();
        let Some(method) = self.service.methods().find(|method| method.name() == name) else {
            return Ok(());
        };
        match seen::reply(&self.schema, &method, message) {
            Ok(outcome) => call.outcome = outcome,
            Err(why) => {
                self.unreadable(format!("a response of {}: {why}", call.method));
                return Ok(());
            }
        }
        let millis = waiting.since.elapsed().as_secs_f64() * 1e3;
        call.duration_ms = Some((millis * 1e3).round() / 1e3);
        self.write(&call)
    }

    fn unanswered(&mut self, calls: Vec<Recorded>) -> Result<(), Failure> {
        for call in calls {
            if self.is_done() {
                break;
            }
            self.counts.unanswered += 1;
            self.write(&call)?;
        }
        Ok(())
    }

    fn write(&mut self, call: &Recorded) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        self.counts.calls += 1;
        self.writer.line(call)
    }

    fn unreadable(&mut self, what: String) {
        self.counts.unreadable += 1;
        self.counts.first_unreadable.get_or_insert(what);
    }
}

impl Counts {
    fn report(&self, output: &Output) {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let calls = count(number(self.calls), "call");
        output.note(&format!("{FAINT}{calls} recorded{FAINT:#}\n"));
        if self.unanswered > 0 {
            output.warn(&format!(
                "{} of them got no answer that was seen",
                self.unanswered
            ));
        }
        if self.sessions > 0 {
            output.warn(&format!(
                "{} opened, whose calls are sealed and cannot be read",
                match self.sessions {
                    1 => "1 session was".to_owned(),
                    sessions => format!("{sessions} sessions were"),
                }
            ));
        }
        if let Some(first) = &self.first_unreadable {
            output.warn(&format!(
                "{} could not be read; the first: {first}",
                count(number(self.unreadable), "message")
            ));
        }
        if self.dropped > 0 {
            output.warn(&format!(
                "{} came faster than they were recorded, and are missing",
                count(number(self.dropped), "message")
            ));
        }
    }
}

/// Returns a failure if a subscription is denied.
fn denied(event: ConnectionEvent) -> Result<(), Failure> {
    let ConnectionEvent::SubscribeDenied { subject, error, .. } = event else {
        return Ok(());
    };
    Err(Failure::new(format!("cannot subscribe to {subject}: {error}"))
        .exit(Exit::Unconnected)
        .hint(
            "the user must be allowed to subscribe to it, such as one who runs the service; the \
             inboxes of callers are set with --inboxes",
        ))
}

fn closed() -> Failure {
    Failure::new("the connection to the NATS server is closed").exit(Exit::Unconnected)
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now
        .replace_nanosecond(now.microsecond() * 1000)
        .unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}
