//! Five times as many calls as a service can run: accepted calls keep their latency, the others are
//! refused at once, no queue grows, and no call is lost.

#![cfg(test)]

use std::{
    collections::HashMap,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use nmfw::{Channel, Code, NatsChannel as _, Status};
use nmfw_tests::{
    TestBroker,
    broker::{Kind, run},
    eventually,
    instance::{CALL_ID, Instance, Orders, resident},
    puppet::{self, PuppetClient, SleepRequest},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const LIMIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(120);

/// The service handles 50 calls a second, or 500 in an optimized build, so that the service is
/// overloaded and not the machine.
const CONCURRENCY: u32 = if cfg!(debug_assertions) { 5 } else { 10 };
const MILLIS: u32 = if cfg!(debug_assertions) { 100 } else { 20 };
const HANDLER: Duration = Duration::from_millis(MILLIS as u64);
const CAPACITY: u32 = CONCURRENCY * 1000 / MILLIS;

/// Calls per second, regardless of their outcome.
const OFFERED: u32 = 5 * CAPACITY;

/// The duration.
const TIME: Duration = Duration::from_secs(2);

/// Number of calls without overload.
const UNLOADED: usize = 15;

/// The possible delay of an attempt on a busy machine; one in a hundred may take longer.
const LATE: Duration = Duration::from_millis(50);
const VERY_LATE: Duration = Duration::from_millis(500);

/// The pauses of a call with five attempts: up to 2, 4, 8 and 16 ms.
const PAUSES: Duration = Duration::from_millis(30);
const ATTEMPTS: u32 = 5;

/// The tests measure memory and times, so they run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
}

/// Calls and their outcomes. Any other outcome fails the test, so each call is included.
#[derive(Default)]
struct Answers {
    done: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Answers {
    fn add(&mut self, (answer, time): (Answer, Duration)) {
        match answer {
            Answer::Done => self.done.push(time),
            Answer::Refused => self.refused.push(time),
        }
    }

    fn len(&self) -> usize {
        self.done.len() + self.refused.len()
    }
}

/// The times of many calls.
#[derive(Clone, Copy)]
struct Times {
    half: Duration,
    nearly_all: Duration,
}

impl Times {
    fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Self {
            half: at(50).unwrap_or_default(),
            nearly_all: at(99).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let (half, nearly_all) = (millis(self.half), millis(self.nearly_all));
        write!(f, "p50 {half:.1} ms, p99 {nearly_all:.1} ms")
    }
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    multiplexed: bool,
    /// Whether both sides use their defaults: refused calls are repeated, and as many calls wait as
    /// run. Otherwise neither.
    defaults: bool,
}

struct Callers {
    client: PuppetClient,
    sent: AtomicU64,
}

impl Callers {
    async fn new(url: &str, setting: Setting) -> Self {
        let mut channel = Channel::new(nmfw::connect(url).await.unwrap());
        if !setting.defaults {
            channel = channel.max_attempts(1);
        }
        if setting.multiplexed {
            channel = channel.multiplexed();
        }
        let client = PuppetClient::new(channel);
        eventually(LIMIT, || async {
            let seen = client.inspect(()).await.unwrap();
            seen.reply.contains(".s.") == setting.multiplexed
        })
        .await;
        Self {
            client,
            sent: AtomicU64::new(0),
        }
    }

    /// Makes a call with its own id.
    fn call(&self) -> impl Future<Output = (Answer, Duration)> + Send + 'static {
        let id = self.sent.fetch_add(1, Ordering::Relaxed);
        let millis = MILLIS.into();
        let call = self.client.sleep(SleepRequest { millis });
        let call = call.metadata(CALL_ID, id.to_string());
        async move {
            let begin = Instant::now();
            let answer = match call.await {
                Ok(_) => Answer::Done,
                Err(status) if is_refusal(&status) => Answer::Refused,
                Err(status) => panic!("a call neither succeeded nor was refused: {status:?}"),
            };
            (answer, begin.elapsed())
        }
    }

    async fn one_after_the_other(&self, answers: &mut Answers) -> Times {
        let mut own = Vec::new();
        for _ in 0..UNLOADED {
            let (answer, time) = self.call().await;
            assert_eq!(answer, Answer::Done, "there was room");
            own.push(time);
            answers.add((answer, time));
        }
        Times::of(&own)
    }

    /// Makes calls at the offered rate, without waiting for them. Returns their outcomes, the
    /// maximum memory of the instance and of this process meanwhile, and the time of the last call.
    async fn overload(&self, time: Duration, instance: &Instance) -> (Answers, Memory, Instant) {
        let mut answers = Answers::default();
        let mut most = Memory::now(instance);
        let mut calls = JoinSet::new();
        let mut ticks = interval(Duration::from_millis(4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (begin, mut made) = (Instant::now(), 0);
        while begin.elapsed() < time {
            ticks.tick().await;
            let due = begin.elapsed().min(time).as_secs_f64() * f64::from(OFFERED);
            while f64::from(made) < due {
                calls.spawn(self.call());
                made += 1;
            }
            while let Some(answer) = calls.try_join_next() {
                answers.add(answer.unwrap());
            }
            most = most.max(Memory::now(instance));
        }
        let end = Instant::now();
        while let Some(answer) = calls.join_next().await {
            answers.add(answer.unwrap());
        }
        assert_eq!(answers.len(), made as usize, "sent = answered");
        (answers, most, end)
    }

    /// Returns the time from `end` until calls are as fast as without load.
    async fn recovery(&self, end: Instant, unloaded: Times, answers: &mut Answers) -> Duration {
        let (mut begin, mut quick) = (end.elapsed(), 0);
        // Repeated, so that it is not by chance.
        while quick < 3 {
            let (answer, time) = self.call().await;
            answers.add((answer, time));
            if answer == Answer::Done && time < unloaded.half + LATE {
                quick += 1;
            } else {
                (begin, quick) = (end.elapsed(), 0);
                assert!(
                    begin < LIMIT,
                    "calls remain slow: {answer:?} after {time:?}"
                );
            }
        }
        begin
    }
}

fn is_refusal(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.is_not_started()
}

/// Resident memory, in KiB.
#[derive(Clone, Copy)]
struct Memory {
    service: u64,
    callers: u64,
}

impl Memory {
    fn now(instance: &Instance) -> Self {
        Self {
            service: instance.resident().unwrap(),
            callers: resident("self").unwrap(),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            service: self.service.max(other.service),
            callers: self.callers.max(other.callers),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (service, callers) = (mib(self.service), mib(self.callers));
        write!(f, "{service:.1} MiB (callers: {callers:.1} MiB)")
    }
}

/// Returns how often calls of this process were sent again.
fn redispatches() -> u64 {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().unwrap();
    let text = RECORDER.get_or_init(install).render();
    let lines = text.lines();
    let lines = lines.filter(|line| line.starts_with("nmfw_client_redispatches_total{"));
    let values = lines.filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

async fn overload(broker: &TestBroker, setting: Setting) {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders {
        url: broker.url(),
        journal: folder.path().join("journal"),
        grace: LIMIT,
        lingers: false,
        concurrency: Some(CONCURRENCY as usize),
        queue: (!setting.defaults).then_some(0),
    };
    let program = env!("CARGO_BIN_EXE_instance");
    let instance = Instance::start(program, &orders).await.unwrap();
    let sent_again = redispatches();
    let callers = Callers::new(&broker.url(), setting).await;

    let mut others = Answers::default();
    let unloaded = callers.one_after_the_other(&mut others).await;
    // Buffers and tasks that are kept exist after the first run.
    let (first, ..) = callers.overload(TIME / 4, &instance).await;
    let before = Memory::now(&instance);
    let (answers, most, end) = callers.overload(TIME, &instance).await;
    let recovery = callers.recovery(end, unloaded, &mut others).await;

    let (done, refused) = (Times::of(&answers.done), Times::of(&answers.refused));
    println!(
        "{} with {setting:?}: {} calls in {TIME:?}, {} done and {} refused; unloaded {unloaded}; \
         done {done}; refused {refused}; before {before}, at most {most}; recovered within {:.0} ms",
        broker.kind(),
        answers.len(),
        answers.done.len(),
        answers.refused.len(),
        recovery.as_secs_f64() * 1e3,
    );

    // The service runs at capacity, and receives more.
    let capacity = f64::from(CAPACITY) * TIME.as_secs_f64();
    assert!(
        answers.done.len() as f64 > capacity * 0.6,
        "too few calls ran"
    );
    assert!(
        answers.refused.len() as f64 > capacity,
        "the service was not overloaded"
    );
    // A waiting call waits for at most one handler, as the queue is as long as the number of
    // handlers.
    let (turn, pauses, late) = match setting.defaults {
        true => (HANDLER, PAUSES, ATTEMPTS * LATE),
        false => (Duration::ZERO, Duration::ZERO, LATE),
    };
    let admitted = unloaded.half + turn + pauses;
    assert!(done.half < admitted + late, "accepted calls take {done}");
    assert!(
        done.nearly_all < admitted + VERY_LATE,
        "accepted calls take {done}"
    );
    assert!(refused.half < pauses + late, "refusals take {refused}");
    assert!(
        refused.nearly_all < pauses + VERY_LATE,
        "refusals take {refused}"
    );
    assert!(
        most.service < before.service + 2 * 1024,
        "the service grew from {before} to {most}"
    );
    assert!(
        most.callers < before.callers + 4 * 1024,
        "callers grew from {before} to {most}"
    );
    assert!(
        recovery < Duration::from_secs(1),
        "the recovery took {recovery:?}"
    );

    // The counts of callers, handlers and service match exactly.
    let all = [&first, &answers, &others];
    let done = all
        .iter()
        .map(|answers| answers.done.len() as u64)
        .sum::<u64>();
    let refused = all
        .iter()
        .map(|answers| answers.refused.len() as u64)
        .sum::<u64>();
    assert_eq!(done + refused, callers.sent.load(Ordering::Relaxed));
    let mut runs = HashMap::new();
    instance.add_runs(&mut runs).unwrap();
    assert!(runs.values().all(|runs| *runs == 1), "a call was run twice");
    assert_eq!(
        runs.len() as u64,
        done,
        "the number of handlers differs from that of successful calls"
    );
    let sent_again = redispatches() - sent_again;
    let expected = (done + refused + sent_again, refused + sent_again);
    // A call is counted once its response has been sent.
    eventually(LIMIT, || async {
        match puppet::sleep_stats(&broker.url()).await.unwrap() {
            stats if stats == expected => Ok(()),
            stats => Err(format!(
                "STATS reports {stats:?}, callers observed {expected:?}"
            )),
        }
    })
    .await;
    assert_eq!(
        sent_again > 0,
        setting.defaults,
        "{sent_again} calls were resent"
    );
}

async fn with_every_setting(kind: Kind) {
    let _alone = ALONE.lock().await;
    run("overload", kind, LONG, |broker| async move {
        for multiplexed in [false, true] {
            for defaults in [false, true] {
                let setting = Setting {
                    multiplexed,
                    defaults,
                };
                overload(&broker, setting).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_calls_are_refused_and_others_unaffected_embedded() {
    with_every_setting(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_calls_are_refused_and_others_unaffected_nats_server() {
    with_every_setting(Kind::NatsServer).await;
}
