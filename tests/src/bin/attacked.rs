//! A service, or its callers, for tests that attack them: `attacked <orders as JSON>`, see
//! `nmfw_tests::attacked`.

use std::{
    alloc::System,
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cap::Cap;
use futures_util::StreamExt;
use nmfw::{Channel, Context, NatsChannel as _, Server, Status, Stream, Streaming};
use nmfw_tests::{
    attacked::{Calls, Made, Order, Orders, Ran, Role},
    puppet::{PuppetClient, PuppetServer, SleepRequest, Strings},
    streams::{CountRequest, Flows, Item, Streams, StreamsClient, StreamsServer, Total, items},
};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

/// Counts the memory in use. The system's figure includes freed memory that the allocator keeps.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

type Error = Box<dyn std::error::Error>;

/// The deadline of each call to a hostile service.
const DEADLINE: Duration = Duration::from_secs(1);

/// The deadline of each call to the honest service, longer than any takes unless messages were
/// dropped. An unoptimized build may be as slow as it likes, because only its failures count.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 });

/// Number of loops for each kind of call.
const LOOPS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let orders = std::env::args().nth(1).ok_or("no orders given")?;
    let orders: Orders = serde_json::from_str(&orders)?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(&orders.log)?;
    tracing_subscriber::fmt()
        .with_env_filter("info,async_nats=warn")
        .with_ansi(false)
        .with_writer(Mutex::new(log))
        .init();
    let lines = BufReader::new(tokio::io::stdin()).lines();
    match orders.role {
        Role::Service { monitor } => serve(&orders.url, monitor, lines).await,
        Role::Callers { hostile, first } => call(&orders.url, hostile, first, lines).await,
    }
}

fn say(what: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// The number of runs of each call, by the call's number.
#[derive(Clone, Debug, Default)]
struct Runs(Arc<Mutex<Vec<u8>>>);

/// More calls than any caller makes; larger numbers come from an attacker.
const MOST_CALLS: u64 = 1 << 28;

impl Runs {
    fn add(&self, number: u64) {
        let Some(at) = number.checked_sub(1).filter(|at| *at < MOST_CALLS) else {
            return;
        };
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = at as usize;
        if runs.len() <= at {
            runs.resize(at + 1, 0);
        }
        runs[at] = runs[at].saturating_add(1);
    }

    fn report(&self, asked: &[u64]) -> Ran {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |number: &u64| runs.get(*number as usize - 1).copied().unwrap_or(0);
        Ran {
            calls: runs.iter().filter(|runs| **runs > 0).count() as u64,
            repeated: runs.iter().filter(|runs| **runs > 1).count() as u64,
            asked: asked.iter().map(|number| u64::from(of(number))).sum(),
        }
    }
}

/// The streams service, counting the runs of each numbered call.
#[derive(Clone, Debug, Default)]
struct Counted {
    flows: Flows,
    runs: Runs,
}

impl Streams for Counted {
    async fn echo(&self, ctx: Context, request: Item) -> Result<Item, Status> {
        self.runs.add(request.number);
        self.flows.echo(ctx, request).await
    }

    async fn count(
        &self,
        ctx: Context,
        request: CountRequest,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        self.flows.count(ctx, request).await
    }

    async fn sum(&self, ctx: Context, requests: Streaming<Item>) -> Result<Total, Status> {
        self.flows.sum(ctx, requests).await
    }

    async fn chat(
        &self,
        ctx: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        self.flows.chat(ctx, requests).await
    }
}

async fn serve(url: &str, monitor: u16, mut lines: Lines<BufReader<Stdin>>) -> Result<(), Error> {
    let counted = Counted::default();
    let running = Server::new(nmfw::connect(url).await?)
        .add_service(StreamsServer::new(counted.clone()))
        .add_service(PuppetServer::new(Strings::default()))
        .metrics(([127, 0, 0, 1], monitor))
        .start()
        .await?;
    say(&"serving")?;
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Order::Ran(asked) => say(&counted.runs.report(&asked))?,
            Order::Allocated => say(&ALLOCATOR.allocated())?,
            Order::Stop => {
                running.stop();
                running.join().await?;
                return say(&counted.runs.report(&[]));
            }
            other => return Err(format!("not for a service: {other:?}").into()),
        }
    }
    Ok(())
}

/// The times of calls, and the failures.
#[derive(Debug, Default)]
struct Book {
    times: BTreeMap<&'static str, Vec<u32>>,
    failed: BTreeMap<String, u64>,
    not_started: Vec<u64>,
    hostile: BTreeMap<String, u64>,
    latest: Duration,
}

#[derive(Clone, Debug)]
struct Callers {
    base: StreamsClient,
    multiplexed: StreamsClient,
    puppet: PuppetClient,
    hostile: Option<[StreamsClient; 2]>,
    next: Arc<AtomicU64>,
    goes: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    hostile_calls: Arc<AtomicUsize>,
    book: Arc<Mutex<Book>>,
}

async fn call(
    url: &str,
    hostile: Option<String>,
    first: u64,
    mut lines: Lines<BufReader<Stdin>>,
) -> Result<(), Error> {
    let nats = nmfw::connect(url).await?;
    // Sessions with the hostile service share a connection, and so an inbox, with honest ones.
    let channel = Channel::new(nats.clone());
    let callers = Callers {
        base: StreamsClient::new(channel.clone()),
        multiplexed: StreamsClient::new(channel.clone().multiplexed()),
        puppet: PuppetClient::new(channel.clone()),
        hostile: hostile.map(|subject| {
            let channel = channel.subject(subject);
            [channel.clone(), channel.multiplexed()].map(StreamsClient::new)
        }),
        next: Arc::new(AtomicU64::new(first)),
        goes: Arc::default(),
        in_flight: Arc::default(),
        hostile_calls: Arc::default(),
        book: Arc::default(),
    };
    callers.base.wait_ready(Duration::from_secs(20)).await?;
    for kind in ["base", "session", "stream", "sleep"] {
        for _ in 0..LOOPS {
            tokio::spawn(callers.clone().go_on(kind));
        }
    }
    for index in 0..HOSTILE.len() * 8 {
        tokio::spawn(callers.clone().go_on_hostile(index));
    }
    say(&"ready")?;
    let mut begin = Instant::now();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Order::Go => callers.goes.store(true, Ordering::SeqCst),
            Order::Halt => {
                callers.goes.store(false, Ordering::SeqCst);
                callers.hostile_calls.store(0, Ordering::SeqCst);
                while callers.in_flight.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Order::Report => {}
            Order::Allocated => {
                say(&ALLOCATOR.allocated())?;
                continue;
            }
            Order::CallHostile(calls) => callers.hostile_calls.store(calls, Ordering::SeqCst),
            other => return Err(format!("not for callers: {other:?}").into()),
        }
        say(&callers.report(begin.elapsed()))?;
        begin = Instant::now();
    }
    Ok(())
}

/// The kinds of calls to a hostile service.
const HOSTILE: [&str; 6] = ["base", "session", "count", "sum", "chat", "discover"];

impl Callers {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes calls of one kind to the honest service, one after the other.
    async fn go_on(self, kind: &'static str) {
        loop {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            if !self.goes.load(Ordering::SeqCst) {
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let begin = Instant::now();
            let outcome = self.honest(kind, number).await;
            let took = begin.elapsed();
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            let Err(status) = outcome else {
                let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                self.book().times.entry(kind).or_default().push(micros);
                continue;
            };
            {
                let mut book = self.book();
                *book.failed.entry(format!("{kind}: {status}")).or_default() += 1;
                if status.is_not_started() {
                    book.not_started.push(number);
                }
            }
            // Keeps calls that fail at once from overloading the machine.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn honest(&self, kind: &str, number: u64) -> Result<(), Status> {
        let item = || Item {
            number,
            padding: vec![7; 100],
        };
        let echoed = match kind {
            "base" => self.base.echo(item()).timeout(PATIENCE).await?,
            "session" => self.multiplexed.echo(item()).timeout(PATIENCE).await?,
            "sleep" => {
                let request = SleepRequest { millis: 0 };
                self.puppet.sleep(request).timeout(PATIENCE).await?;
                return Ok(());
            }
            _ => {
                let request = CountRequest {
                    to: 20,
                    size: 100,
                    ..CountRequest::default()
                };
                let count = self.multiplexed.count(request);
                let count = count.timeout(PATIENCE).await?;
                return match Total::of(count).await?.count {
                    20 => Ok(()),
                    count => Err(Status::data_loss(format!("{count} of 20 items"))),
                };
            }
        };
        if echoed == item() {
            Ok(())
        } else {
            Err(Status::data_loss("the answer of another call"))
        }
    }

    async fn go_on_hostile(self, index: usize) {
        let kind = HOSTILE[index % HOSTILE.len()];
        loop {
            let calls = self.hostile_calls.load(Ordering::SeqCst);
            if index / HOSTILE.len() >= calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let begin = Instant::now();
            let outcome = self.hostile(kind).await;
            let late = begin.elapsed().saturating_sub(DEADLINE);
            let code = match outcome {
                Ok(()) => "OK".to_owned(),
                Err(status) => {
                    // Handles the error as a program would.
                    tracing::debug!(%status, "a call of the hostile service");
                    format!("{:?}", status.code())
                }
            };
            {
                let mut book = self.book();
                *book.hostile.entry(code).or_default() += 1;
                book.latest = book.latest.max(late);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn hostile(&self, kind: &str) -> Result<(), Status> {
        let Some([base, multiplexed]) = &self.hostile else {
            return Err(Status::unavailable("there is no hostile service"));
        };
        let item = Item {
            number: 0,
            padding: vec![7; 100],
        };
        match kind {
            "base" => base.echo(item).timeout(DEADLINE).await.map(drop),
            "session" => multiplexed.echo(item).timeout(DEADLINE).await.map(drop),
            "discover" => base
                .wait_ready(DEADLINE)
                .await
                .map_err(|error| Status::unavailable(error.to_string())),
            "count" => {
                let request = CountRequest::default();
                let mut count = multiplexed.count(request).timeout(DEADLINE).await?;
                // Reads one item only.
                count.message().await?;
                tokio::time::sleep(DEADLINE / 2).await;
                Ok(())
            }
            "sum" => {
                let endless = items(0, u64::MAX, 4_000);
                multiplexed.sum(endless).timeout(DEADLINE).await.map(drop)
            }
            _ => {
                let endless = items(0, u64::MAX, 400).then(|item| async {
                    tokio::time::sleep(Duration::from_micros(100)).await;
                    item
                });
                let mut chat = multiplexed.chat(endless).timeout(DEADLINE).await?;
                while chat.message().await?.is_some() {}
                Ok(())
            }
        }
    }

    fn report(&self, took: Duration) -> Made {
        let book = std::mem::take(&mut *self.book());
        let calls = |mut times: Vec<u32>| {
            times.sort_unstable();
            let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
            Calls {
                good: times.len() as u64,
                p99: u64::from(times.get(at).copied().unwrap_or(0)),
            }
        };
        Made {
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            calls: book
                .times
                .into_iter()
                .map(|(kind, times)| (kind.to_owned(), calls(times)))
                .collect(),
            failed: book.failed,
            not_started: book.not_started,
            hostile: book.hostile,
            latest: u64::try_from(book.latest.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
