//! Instances of a service in several places, callers of each kind, and the outcomes of their calls.

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

/// The subject of the service, wherever it is.
pub const SUBJECT: &str = "test.places";

/// The deadline of a call in base mode, which is how long callers take to notice that an instance
/// was killed.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Maximum duration of any wait.
pub const LIMIT: Duration = Duration::from_secs(25);

const CALLERS: usize = 4;

/// The mode of a call.
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

/// Connects, with fast reconnects to keep the tests short.
///
/// # Errors
///
/// Fails if connecting fails.
pub async fn connect(urls: impl IntoServers) -> Result<Connection, nmfw::Error> {
    let options = ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20));
    options.retain_servers_order(true).connect(urls).await
}

/// An instance of the service.
#[derive(Debug)]
pub struct Instance {
    strings: Strings,
    /// The streams service.
    pub flows: Flows,
    running: Running,
}

impl Instance {
    /// Starts an instance on its own connection.
    ///
    /// # Errors
    ///
    /// Fails if it does not start.
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

    /// Returns the number of calls received.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.strings.started() + self.flows.started()
    }

    /// Waits for calls in flight, and stops.
    ///
    /// # Errors
    ///
    /// Fails if it does not stop.
    pub async fn stop(self) -> Result<(), Failure> {
        self.running.stop();
        let ended = timeout(LIMIT, self.running.join()).await;
        ended
            .doing("stop an instance")?
            .doing("stop an instance")
            .map(drop)
    }
}

/// Makes calls of one kind, on its own connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The kind of its calls.
    pub kind: Kind,
    puppet: PuppetClient,
    /// A client for streams of any kind.
    pub streams: StreamsClient,
}

impl Caller {
    /// Connects to the first of these servers while it is available.
    ///
    /// # Errors
    ///
    /// Fails if connecting fails.
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

    /// Makes a call that takes a while.
    ///
    /// # Errors
    ///
    /// Returns the status of the call.
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

    /// Makes a call with this deadline, for tests that wait until calls succeed again.
    ///
    /// # Errors
    ///
    /// Returns the status of the call.
    pub async fn call_within(&self, limit: Duration) -> Result<(), Status> {
        let late = || Status::deadline_exceeded("the deadline of the call has passed");
        timeout(limit, self.call()).await.map_err(|_| late())?
    }

    /// Waits until calls use the intended mode.
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
                .ok_or_else(|| "another instance was reached".to_owned())
        })
        .await;
    }
}

/// A call that failed.
#[derive(Debug)]
pub struct Failed {
    /// The error.
    pub status: Status,
    /// The duration of the call.
    pub took: Duration,
}

/// Callers that call continuously.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    callers: JoinSet<Vec<Failed>>,
}

impl Load {
    /// Number of concurrent callers.
    pub const CALLERS: usize = CALLERS;

    /// Starts the callers.
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
                        // Keeps calls that fail at once from overloading the machine.
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

    /// Waits until this many further calls have succeeded.
    pub async fn goes_on(&self, calls: u64) {
        let good = || self.good.load(Ordering::Relaxed);
        let before = good();
        eventually(LIMIT, || async { good() >= before + calls }).await;
    }

    /// Stops the callers and returns the failed calls.
    ///
    /// # Errors
    ///
    /// Fails if calls do not end.
    pub async fn stop(self) -> Result<Vec<Failed>, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let failed = timeout(LIMIT, self.callers.join_all()).await;
        let failed = failed.doing("wait for the calls in flight")?;
        Ok(failed.into_iter().flatten().collect())
    }
}
