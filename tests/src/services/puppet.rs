//! A service that follows the instructions in its requests, and counts its calls.

use std::time::Duration;

use nmfw::{Code, Context, MetadataValue, NatsContext as _, Server, Status, server::Running};

pub use self::generated::*;
use super::fates::Fates;
use crate::{Failure, failure::Doing};

#[allow(
    missing_docs,
    reason = "generated from puppet.proto, which has the documentation"
)]
mod generated {
    nmfw::include_proto!("nmfw.puppet");
}

/// The implementation. Clones share their counters.
#[derive(Clone, Debug, Default)]
pub struct Strings(Fates);

impl Strings {
    /// Returns the number of handlers that have begun.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.0.started()
    }

    /// Returns the number of handlers that completed.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.0.finished()
    }

    /// Returns the number of handlers that were dropped before they completed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

impl Puppet for Strings {
    async fn echo(&self, _ctx: Context, request: Blob) -> Result<Blob, Status> {
        self.0.enter().leave();
        Ok(request)
    }

    async fn sleep(&self, _ctx: Context, request: SleepRequest) -> Result<Blob, Status> {
        let mut entered = self.0.enter();
        tokio::time::sleep(Duration::from_millis(request.millis)).await;
        entered.leave();
        Ok(Blob::default())
    }

    async fn fail(&self, ctx: Context, request: FailRequest) -> Result<(), Status> {
        self.0.enter().leave();
        ctx.set_response_metadata("failed-by", "puppet")?;
        let mut status = Status::new(Code::from_number(request.code), request.message);
        if !request.detail.is_empty() {
            status = status.with_detail(&request.detail);
        }
        if request.not_started {
            status = status.not_started();
        }
        Err(status)
    }

    async fn panic(&self, _ctx: Context, (): ()) -> Result<(), Status> {
        let _entered = self.0.enter();
        panic!("as requested")
    }

    async fn inspect(&self, ctx: Context, (): ()) -> Result<Seen, Status> {
        self.0.enter().leave();
        ctx.set_response_metadata("inspected-by", "puppet")?;
        let text = |value: &MetadataValue| match value {
            MetadataValue::Text(text) => text.clone(),
            MetadataValue::Binary(bytes) => format!("{bytes:?}"),
        };
        Ok(Seen {
            metadata: ctx
                .metadata()
                .iter()
                .map(|(key, value)| (key.to_owned(), text(value)))
                .collect(),
            time_left_millis: ctx
                .time_left()
                .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            client_version: ctx.client_version().unwrap_or_default().to_owned(),
            subject: ctx.subject().unwrap_or_default().to_owned(),
            reply: ctx.reply().unwrap_or_default().to_owned(),
            method: ctx
                .method()
                .map(nmfw::Method::full_name)
                .unwrap_or_default(),
        })
    }
}

/// Serves it on its own connection, with the defaults.
///
/// # Errors
///
/// Fails if connecting or starting fails.
pub async fn serve(url: &str, strings: &Strings) -> Result<Running, nmfw::Error> {
    let nats = nmfw::connect(url).await?;
    Server::new(nats)
        .add_service(PuppetServer::new(strings.clone()))
        .start()
        .await
}

/// Creates a client with its own connection.
///
/// # Errors
///
/// Fails if connecting fails.
pub async fn client(url: &str) -> Result<PuppetClient, nmfw::Error> {
    Ok(PuppetClient::new(nmfw::connect(url).await?))
}

/// Returns the counts of `Sleep` in the STATS of an instance: requests and errors.
///
/// # Errors
/// Fails if no instance answers, or if the counts are missing.
pub async fn sleep_stats(url: &str) -> Result<(u64, u64), Failure> {
    let sleep = stats_of_sleep(url).await?;
    both(&sleep, "num_requests", "num_errors")
}

/// Returns how many calls of `Sleep` are running and waiting, from the STATS of an instance.
///
/// # Errors
/// Fails if no instance answers, or if the counts are missing.
pub async fn sleep_load(url: &str) -> Result<(u64, u64), Failure> {
    let sleep = stats_of_sleep(url).await?;
    both(&sleep["data"], "running", "waiting")
}

async fn stats_of_sleep(url: &str) -> Result<serde_json::Value, Failure> {
    let nats = async_nats::connect(url).await.doing("connect")?;
    let stats = nats.request("$SRV.STATS.nmfw-puppet", "".into());
    let stats = stats.await.doing("ask for STATS")?.payload;
    let stats: serde_json::Value = serde_json::from_slice(&stats).doing("read STATS")?;
    let mut endpoints = stats["endpoints"].as_array().into_iter().flatten();
    let sleep = endpoints.find(|endpoint| endpoint["name"] == "Sleep");
    let sleep = sleep.cloned();
    sleep.ok_or_else(|| Failure::new(format!("STATS have no figures of Sleep: {stats}")))
}

fn both(figures: &serde_json::Value, first: &str, second: &str) -> Result<(u64, u64), Failure> {
    let both = figures[first].as_u64().zip(figures[second].as_u64());
    both.ok_or_else(|| Failure::new(format!("{first} or {second} is missing in {figures}")))
}
