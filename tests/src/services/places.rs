//! Instances of a service in several places, callers of each kind, and what becomes of their calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nmfw::{
    Channel, ConnectOptions, Connection, IntoServers, NatsChannel as _, Server, Status,
    server::Running,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    eventually,
    failure::{Doing, Failure},
    puppet::{PuppetClient, PuppetServer, SleepRequest, Strings},
    streams::{CountRequest, Flows, StreamsClient, StreamsServer, Total},
    streams_process::puppet_subject,
};

/// Of the service, wherever it is.
pub const SUBJECT: &str = "test.places";

/// Of a call in base mode, which is how long it takes to learn that an instance was killed.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// What nothing may take that is waited for.
pub const LIMIT: Duration = Duration::from_secs(25);

const CALLERS: usize = 4;

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message each way, in base mode.
    Base,
    /// One message each way, in a session.
    Multiplexed,
    /// A stream of answers.
    Stream,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Base, Self::Multiplexed, Self::Stream];
}

/// A connection that comes back fast, so that tests do.
///
/// # Errors
///
/// Fails if there is none.
pub async fn connect(urls: impl IntoServers) -> Result<Connection, nmfw::Error> {
    let options = ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20));
    options.retain_servers_order().connect(urls).await
}

/// An instance of the service.
#[derive(Debug)]
pub struct Instance {
    strings: Strings,
    /// Its streams.
    pub flows: Flows,
    running: Running,
}

impl Instance {
    /// Serves on a connection of its own.
    ///
    /// # Errors
    ///
    /// Fails if it cannot.
    pub async fn start(url: String) -> Result<Self, nmfw::Error> {
        let (strings, flows) = (Strings::default(), Flows::default());
        let puppet = PuppetServer::new(strings.clone()).subject(puppet_subject(SUBJECT));
        let streams = StreamsServer::new(flows.clone()).subject(SUBJECT);
        let server = Server::new(connect(url).await?);
        let server = server.add_service(puppet).add_service(streams);
        let running = server.start().await?;
        Ok(Self {
            strings,
            flows,
            running,
        })
    }

    /// The calls that it has got.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.strings.started() + self.flows.started()
    }

    /// Lets calls end, and ends.
    ///
    /// # Errors
    ///
    /// Fails if it does not.
    pub async fn stop(self) -> Result<(), Failure> {
        self.running.stop();
        let ended = timeout(LIMIT, self.running.join()).await;
        ended
            .doing("stop an instance")?
            .doing("stop an instance")
            .map(drop)
    }
}

/// Makes calls of one kind, on a connection of its own.
#[derive(Clone, Debug)]
pub struct Caller {
    /// That kind.
    pub kind: Kind,
    puppet: PuppetClient,
    /// For streams of any kind.
    pub streams: StreamsClient,
}

impl Caller {
    /// Connects to the first of these servers as long as it is there.
    ///
    /// # Errors
    ///
    /// Fails if it does not connect.
    pub async fn new(kind: Kind, urls: impl IntoServers) -> Result<Self, nmfw::Error> {
        let channel = Channel::new(connect(urls).await?);
        let channel = match kind {
            Kind::Base => channel.timeout(DEADLINE),
            Kind::Multiplexed | Kind::Stream => channel.multiplexed().timeout(LIMIT),
        };
        Ok(Self {
            kind,
            puppet: PuppetClient::new(channel.clone().subject(puppet_subject(SUBJECT))),
            streams: StreamsClient::new(channel.subject(SUBJECT)),
        })
    }

    /// One call, under way for a while.
    ///
    /// # Errors
    ///
    /// Its status.
    pub async fn call(&self) -> Result<(), Status> {
        if self.kind != Kind::Stream {
            return self
                .puppet
                .sleep(SleepRequest { millis: 20 })
                .await
                .map(drop);
        }
        let request = CountRequest {
            to: 20,
            size: 9,
            pause_micros: 1_000,
            ..CountRequest::default()
        };
        let total = Total::of(self.streams.count(request).timeout(LIMIT).await?).await?;
        match total.count {
            20 => Ok(()),
            count => Err(Status::data_loss(format!("{count} of 20 items"))),
        }
    }

    /// A call that has this long, for those that find out when calls succeed again.
    ///
    /// # Errors
    ///
    /// Its status.
    pub async fn call_within(&self, limit: Duration) -> Result<(), Status> {
        let late = || Status::deadline_exceeded("the caller has no more time");
        timeout(limit, self.call()).await.map_err(|_| late())?
    }

    /// Waits until calls are made as they are to be made.
    pub async fn works(&self) {
        eventually(LIMIT, || self.call_within(DEADLINE)).await;
        if self.kind == Kind::Multiplexed {
            eventually(LIMIT, || async {
                let seen = self.puppet.inspect(()).await.map_err(|s| s.to_string())?;
                let is_in_session = seen.reply.contains(".s.");
                is_in_session.then_some(()).ok_or(seen.reply)
            })
            .await;
        }
    }

    /// Waits until a call reaches the instance.
    pub async fn reaches(&self, instance: &Instance) {
        eventually(LIMIT, || async {
            let before = instance.calls();
            let call = self.call_within(DEADLINE).await;
            call.map_err(|status| status.to_string())?;
            let is_reached = instance.calls() > before;
            is_reached
                .then_some(())
                .ok_or_else(|| "another one was reached".to_owned())
        })
        .await;
    }
}

/// A call that failed.
#[derive(Debug)]
pub struct Failed {
    /// With what.
    pub status: Status,
    /// After which time.
    pub took: Duration,
}

/// Calls that go on all the time.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    callers: JoinSet<Vec<Failed>>,
}

impl Load {
    /// Calls that go on at a time.
    pub const CALLERS: usize = CALLERS;

    /// Begins.
    #[must_use]
    pub fn start(caller: &Caller) -> Self {
        let mut load = Self {
            over: Arc::default(),
            good: Arc::default(),
            callers: JoinSet::new(),
        };
        for _ in 0..CALLERS {
            let (caller, over, good) = (caller.clone(), load.over.clone(), load.good.clone());
            load.callers.spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    if let Err(status) = caller.call().await {
                        let took = begin.elapsed();
                        failed.push(Failed { status, took });
                        // So that those that fail at once do not fill the machine.
                        sleep(Duration::from_millis(20)).await;
                    } else {
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                }
                failed
            });
        }
        load
    }

    /// Waits for so many calls that succeed.
    pub async fn goes_on(&self, calls: u64) {
        let good = || self.good.load(Ordering::Relaxed);
        let before = good();
        eventually(LIMIT, || async { good() >= before + calls }).await;
    }

    /// The calls that failed.
    ///
    /// # Errors
    ///
    /// Fails if calls do not end.
    pub async fn stop(self) -> Result<Vec<Failed>, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let failed = timeout(LIMIT, self.callers.join_all()).await;
        let failed = failed.doing("wait for the calls under way")?;
        Ok(failed.into_iter().flatten().collect())
    }
}
