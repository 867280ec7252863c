//! Instances are replaced one after the other under load: no call fails, and none runs twice. The
//! instances are processes, stopped as by service managers and container runtimes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nmfw::{Channel, Code, Connection, NatsChannel as _, Status};
use nmfw_tests::{
    Proxy, TestBroker, eventually,
    instance::{CALL_ID, Instance, Orders, Report},
    on_both_brokers,
    puppet::{Blob, PuppetClient, SleepRequest},
    streams::{CountRequest, Item, StreamsClient, Total, item, items},
};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const LIMIT: Duration = Duration::from_secs(30);
const ROUNDS: usize = 3;

/// Delays to the broker, so that many messages are in transit; milliseconds.
const DELAYS: [u64; 3] = [0, 5, 15];

/// The period of each caller, unless its calls take longer.
const PERIOD: Duration = Duration::from_millis(50);

/// Handlers and streams take up to about half a second, which leaves slack for a busy machine.
const GRACE: Duration = Duration::from_millis(1_700);
const KILLED_AFTER: Duration = Duration::from_millis(2_000);

/// Items of a stream: with a pause after each, it takes about half a second.
const ITEMS: u64 = 100;
const PAUSE_MICROS: u64 = 4_000;
const SIZE: u32 = 1_000;

/// The mode of calls; its name is the prefix of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Base,
    Multiplexed,
    Stream,
}

impl Way {
    const ALL: [Self; 3] = [Self::Base, Self::Multiplexed, Self::Stream];

    fn prefix(self) -> &'static str {
        match self {
            Self::Base => "base-",
            Self::Multiplexed => "multiplexed-",
            Self::Stream => "stream-",
        }
    }
}

/// The record of one caller.
#[derive(Default)]
struct Told {
    ids: Vec<String>,
    /// Calls that failed or had a wrong answer.
    bad: Vec<String>,
}

/// Callers that call until they are stopped.
struct Load {
    over: watch::Sender<bool>,
    next: Arc<AtomicU64>,
    in_sessions: Arc<AtomicU64>,
    callers: JoinSet<Told>,
}

impl Load {
    /// Starts fifty callers on ten connections.
    async fn start(url: &str) -> Self {
        let mut load = Self {
            over: watch::Sender::new(false),
            next: Arc::default(),
            in_sessions: Arc::default(),
            callers: JoinSet::new(),
        };
        for connection in 0..10 {
            let nats = nmfw::connect(url).await.unwrap();
            let (way, callers) = match connection {
                0..4 => (Way::Base, 5),
                4..8 => (Way::Multiplexed, 5),
                _ => (Way::Stream, 5),
            };
            load.callers(way, &nats, callers);
        }
        load
    }

    fn callers(&mut self, way: Way, nats: &Connection, callers: u64) {
        let channel = match way {
            Way::Multiplexed => Channel::new(nats).multiplexed(),
            Way::Base | Way::Stream => Channel::new(nats),
        };
        let puppet = PuppetClient::new(channel.clone());
        let streams = StreamsClient::new(channel);
        for caller in 0..callers {
            let (puppet, streams) = (puppet.clone(), streams.clone());
            let (next, over) = (Arc::clone(&self.next), self.over.subscribe());
            let in_sessions = Arc::clone(&self.in_sessions);
            self.callers.spawn(async move {
                let mut told = Told::default();
                let mut ticks = interval(PERIOD);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !*over.borrow() {
                    ticks.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let id = format!("{}{number}", way.prefix());
                    let outcome = match way {
                        Way::Base | Way::Multiplexed => {
                            unary(&puppet, &id, caller + number, &in_sessions).await
                        }
                        Way::Stream => stream(&streams, &id, number).await,
                    };
                    told.bad
                        .extend(outcome.err().map(|error| format!("{id}: {error}")));
                    told.ids.push(id);
                }
                told
            });
        }
    }

    async fn stop(self) -> Told {
        self.over.send_replace(true);
        let mut all = Told::default();
        let callers = tokio::time::timeout(LIMIT, self.callers.join_all()).await;
        for told in callers.expect("a call hangs") {
            all.ids.extend(told.ids);
            all.bad.extend(told.bad);
        }
        all
    }
}

fn failed(status: Status) -> String {
    format!("{status:?}")
}

fn same<T: PartialEq + std::fmt::Debug>(got: &T, expected: &T) -> Result<(), String> {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{got:?} instead of {expected:?}")),
    }
}

async fn unary(
    client: &PuppetClient,
    id: &str,
    number: u64,
    in_sessions: &AtomicU64,
) -> Result<(), String> {
    match number % 4 {
        0 => {
            let data = number.to_be_bytes().to_vec();
            let echo = client
                .echo(Blob { data: data.clone() })
                .metadata(CALL_ID, id);
            same(&echo.await.map_err(failed)?.data, &data)
        }
        1 => {
            let seen = client.inspect(()).metadata(CALL_ID, id);
            let seen = seen.await.map_err(failed)?;
            if seen.reply.contains(".s.") {
                in_sessions.fetch_add(1, Ordering::Relaxed);
            }
            same(&seen.metadata[CALL_ID].as_str(), &id)
        }
        // Some are always in flight.
        n => {
            let millis = number * 7919 % if n == 2 { 10 } else { 200 };
            let slept = client.sleep(SleepRequest { millis }).metadata(CALL_ID, id);
            same(&slept.await.map_err(failed)?, &Blob::default())
        }
    }
}

async fn stream(client: &StreamsClient, id: &str, number: u64) -> Result<(), String> {
    let mut expected = Total::default();
    let add = |item: Item| expected.add(&item);
    (0..ITEMS).map(|number| item(number, SIZE)).for_each(add);
    let pause = PAUSE_MICROS.to_string();
    let total = match number % 3 {
        0 => {
            let request = CountRequest {
                to: ITEMS,
                size: SIZE,
                pause_micros: PAUSE_MICROS,
                ..CountRequest::default()
            };
            let count = client.count(request).metadata(CALL_ID, id);
            Total::of(count.await.map_err(failed)?).await
        }
        1 => {
            let sum = client.sum(items(0, ITEMS, SIZE)).metadata(CALL_ID, id);
            sum.metadata("pause-micros", pause).await
        }
        _ => {
            let chat = client.chat(items(0, ITEMS, SIZE)).metadata(CALL_ID, id);
            let chat = chat.metadata("pause-micros", pause).await;
            Total::of(chat.map_err(failed)?).await
        }
    };
    same(&total.map_err(failed)?, &expected)
}

/// The current and former instances, including the journals of the latter.
struct Instances {
    folder: TempDir,
    lingers: bool,
    proxies: Vec<Proxy>,
    all: Vec<Instance>,
    /// The current ones, as indexes into all.
    now: Vec<usize>,
}

impl Instances {
    async fn start(broker: &TestBroker, lingers: bool) -> Self {
        let mut instances = Self {
            folder: tempfile::tempdir().unwrap(),
            lingers,
            proxies: Vec::new(),
            all: Vec::new(),
            now: Vec::new(),
        };
        for millis in DELAYS {
            let proxy = Proxy::start(broker.port()).await.unwrap();
            proxy.delay(Duration::from_millis(millis));
            let url = proxy.url();
            instances.proxies.push(proxy);
            let place = instances.another(url).await;
            instances.now.push(place);
        }
        instances
    }

    async fn another(&mut self, url: String) -> usize {
        let place = self.all.len();
        let orders = Orders {
            url,
            journal: self.folder.path().join(place.to_string()),
            grace: GRACE,
            lingers: self.lingers,
            concurrency: None,
            queue: None,
        };
        let program = env!("CARGO_BIN_EXE_instance");
        self.all
            .push(Instance::start(program, &orders).await.unwrap());
        place
    }

    /// Stops an instance and starts another in its place. Returns the number of handlers that were
    /// running at the stop.
    async fn replace(&mut self, slot: usize) -> (u64, u64) {
        let old = &mut self.all[self.now[slot]];
        old.terminate().unwrap();
        if self.lingers {
            let exit = old.exit(KILLED_AFTER).await.unwrap();
            assert_eq!(exit, None, "no instance is running in the slot");
            old.kill().await.unwrap();
        } else {
            let exit = old.exit(LIMIT).await.unwrap();
            assert!(exit.is_some_and(|exit| exit.success()), "{exit:?}");
        }
        // The earlier output of the instance can still be read.
        let Report::Stopping { unary, streams } = old.report().await.unwrap() else {
            panic!("the instance did not report its stop");
        };
        let stopped = old.report().await.unwrap();
        assert_eq!(stopped, Report::Stopped { dropped: 0 });
        let url = self.proxies[slot].url();
        self.now[slot] = self.another(url).await;
        (unary, streams)
    }

    /// Waits until each current instance runs calls.
    async fn all_work(&self) {
        for place in &self.now {
            let instance = &self.all[*place];
            eventually(LIMIT, || async {
                match instance.has_run(Way::Base.prefix()).unwrap() {
                    0..20 => Err("an instance receives no calls"),
                    _ => Ok(()),
                }
            })
            .await;
        }
    }

    fn have_run(&self, way: Way, places: std::ops::Range<usize>) -> usize {
        let all = self.all[places].iter();
        all.map(|instance| instance.has_run(way.prefix()).unwrap())
            .sum()
    }
}

async fn rolling(broker: TestBroker, lingers: bool) {
    let mut instances = Instances::start(&broker, lingers).await;
    let load = Load::start(&broker.url()).await;
    instances.all_work().await;
    let mut under_way = (0, 0);
    for _ in 0..ROUNDS {
        for slot in 0..DELAYS.len() {
            let (unary, streams) = instances.replace(slot).await;
            under_way = (under_way.0 + unary, under_way.1 + streams);
            instances.all_work().await;
        }
    }
    let in_sessions = Arc::clone(&load.in_sessions);
    let Told { ids, bad } = load.stop().await;
    assert!(bad.is_empty(), "{} of {}: {bad:#?}", bad.len(), ids.len());

    let mut runs = HashMap::new();
    for instance in &instances.all {
        instance.add_runs(&mut runs).unwrap();
    }
    let others: Vec<_> = ids
        .iter()
        .map(|id| (id, runs.remove(id).unwrap_or_default()))
        .filter(|(_, runs)| *runs != 1)
        .collect();
    assert!(others.is_empty(), "not run once: {others:?}");
    assert!(
        runs.is_empty(),
        "these calls were not made by the callers: {runs:?}"
    );

    // Without these calls, the other checks would prove little.
    assert!(
        under_way.0 > 0 && under_way.1 > 0,
        "{under_way:?} calls were in flight"
    );
    let in_sessions = in_sessions.load(Ordering::Relaxed);
    assert!(in_sessions > 100, "{in_sessions} unary calls in sessions");
    for (places, what) in [(3..6, "second"), (9..12, "last")] {
        for way in Way::ALL {
            let runs = instances.have_run(way, places.clone());
            assert!(runs > 0, "no {way:?} call went to the {what} instances");
        }
    }
    println!(
        "{}: {} calls ({} seen in sessions), none failed, none run twice; {} unary calls and {} \
         streams were in flight on instances at their stop",
        broker.kind(),
        ids.len(),
        in_sessions,
        under_way.0,
        under_way.1
    );
}

/// Checks calls in flight without a grace, on a distant instance.
async fn cut_short(broker: &TestBroker) {
    const CALLS: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(broker.port()).await.unwrap();
    proxy.delay(Duration::from_millis(30));
    let orders = Orders {
        url: proxy.url(),
        journal: folder.path().join("journal"),
        grace: Duration::ZERO,
        lingers: false,
        concurrency: None,
        queue: None,
    };
    let program = env!("CARGO_BIN_EXE_instance");
    let mut instance = Instance::start(program, &orders).await.unwrap();
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let puppet = PuppetClient::new(&nats);
    let streams = StreamsClient::new(&nats);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let millis = 60_000;
        let sleep = puppet.sleep(SleepRequest { millis });
        let sleep = sleep.metadata(CALL_ID, Way::Base.prefix());
        calls.spawn(async move { sleep.timeout(2 * LIMIT).await.map(drop) });
        // Messages reach the process at any moment, including its last.
        let sum = streams.sum(items(0, u64::MAX, SIZE));
        let sum = sum.metadata(CALL_ID, Way::Stream.prefix());
        calls.spawn(async move { sum.metadata("pause-micros", "1000").await.map(drop) });
    }
    for way in [Way::Base, Way::Stream] {
        eventually(LIMIT, || async {
            instance.has_run(way.prefix()).unwrap() == CALLS
        })
        .await;
    }
    instance.terminate().unwrap();
    let answers = tokio::time::timeout(LIMIT / 2, calls.join_all()).await;
    for answer in answers.expect("a caller gets no answer") {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("was stopped"), "{status:?}");
        assert!(!status.is_not_started(), "{status:?}");
    }
    let exit = instance.exit(LIMIT).await.unwrap();
    assert!(exit.is_some_and(|exit| exit.success()), "{exit:?}");
}

on_both_brokers! {
    async fn processes_that_are_terminated(broker: TestBroker) {
        rolling(broker, false).await;
    }

    /// The processes run until they are killed, because a part of each never ends.
    async fn processes_that_are_terminated_and_then_killed(broker: TestBroker) {
        rolling(broker, true).await;
    }

    /// The process ends as soon as it has answered; its answers still arrive.
    async fn callers_of_handlers_that_are_cut_short_learn_of_it(broker: TestBroker) {
        for _ in 0..8 {
            cut_short(&broker).await;
        }
    }
}
