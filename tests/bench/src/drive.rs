//! Executes a [`Job`] with clients of any peer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nmfw_tests::{Failure, failure::Doing};
use tokio::task::JoinSet;

use crate::{
    meter::{Meter, Over},
    peers::{Client, Held, How},
    protocol::{Job, Outcome, What},
};

/// Delay after an error, to bound the number of errors if a server is gone.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients, and idle items that are kept until the process ends.
pub(crate) struct Driver<C> {
    address: String,
    clients: Vec<C>,
    idle: Vec<Held>,
}

/// When callers stop.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    After(u64),
}

impl<C: Client> Driver<C> {
    pub(crate) async fn connect(address: &str, clients: usize) -> Result<Self, Failure> {
        let mut driver = Self {
            address: address.to_owned(),
            clients: Vec::new(),
            idle: Vec::new(),
        };
        for _ in 0..clients.max(1) {
            driver.clients.push(C::connect(address).await?);
        }
        Ok(driver)
    }

    pub(crate) async fn run(&mut self, job: Job) -> Result<Outcome, Failure> {
        match job.what {
            What::Unary => self.calls(How::Plain, job).await,
            What::Sleep => self.calls(How::Sleep, job).await,
            What::Deadline => self.calls(How::Deadline, job).await,
            What::Metadata => self.calls(How::Metadata, job).await,
            What::Download | What::Upload | What::Chat => self.streams(job).await,
            What::IdleClients | What::IdleSessions | What::IdleStreams => self.idle(job).await,
        }
    }

    /// Makes sequential calls with each caller.
    async fn calls(&self, how: How, job: Job) -> Result<Outcome, Failure> {
        let meter = Arc::new(Meter::new().doing("make histograms")?);
        let body = Bytes::from(vec![7; job.payload]);
        let callers = job.callers.max(1);
        let began = Instant::now();
        let end = match job.calls {
            0 => End::At(began + Duration::from_millis(job.millis)),
            calls => End::After(calls / callers as u64),
        };
        let mut tasks = JoinSet::new();
        for number in 0..callers {
            let client = self.clients[number % self.clients.len()].clone();
            let (meter, body) = (Arc::clone(&meter), body.clone());
            tasks.spawn(async move {
                let mut made = 0;
                let mut now = Instant::now();
                while match end {
                    End::At(at) => now < at,
                    End::After(calls) => made < calls,
                } {
                    let answer = client.unary(how, body.clone()).await;
                    let ended = Instant::now();
                    made += 1;
                    match answer {
                        Ok(answer) if answer.len() == body.len() => meter.answered(now, ended),
                        Ok(answer) => {
                            meter.failed(format!("an answer of {} bytes", answer.len()));
                        }
                        Err(error) => {
                            meter.failed(error);
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    now = ended;
                }
            });
        }
        tasks.join_all().await;
        Ok(meter.outcome(began))
    }

    async fn streams(&self, job: Job) -> Result<Outcome, Failure> {
        let meter = Arc::new(Meter::new().doing("make histograms")?);
        let body = Bytes::from(vec![7; job.payload]);
        let over = Over::after(Duration::from_millis(job.millis));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..job.callers.max(1) {
            let client = self.clients[number % self.clients.len()].clone();
            let (meter, body, over) = (Arc::clone(&meter), body.clone(), over.clone());
            tasks.spawn(async move {
                let count = match job.what {
                    What::Upload => client.upload(body, over).await,
                    What::Chat => client.chat(body, over).await,
                    _ => client.download(body.len(), over).await,
                };
                match count {
                    Ok(count) => meter.arrived(count),
                    Err(error) => meter.failed(error),
                }
            });
        }
        tasks.join_all().await;
        Ok(meter.outcome(began))
    }

    async fn idle(&mut self, job: Job) -> Result<Outcome, Failure> {
        for _ in 0..job.callers {
            if job.what == What::IdleStreams {
                let stream = self.clients[0].idle_stream().await;
                self.idle.push(stream.doing("open a stream")?);
                continue;
            }
            let client = C::connect(&self.address).await?;
            if job.what == What::IdleSessions {
                client
                    .unary(How::Plain, Bytes::from(vec![7; job.payload]))
                    .await
                    .doing("make a call")?;
            }
            self.idle.push(Box::new(client));
        }
        Ok(Outcome {
            done: job.callers as u64,
            ..Outcome::default()
        })
    }
}
