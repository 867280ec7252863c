//! One side of streams as a separate process, for tests that signal or kill it:
//! `streams serve <url> <subject>` or `streams call <url> <subject> <calls of each kind>`.
//!
//! The service answers each line on its standard input with the counts of its calls.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nmfw::{Channel, NatsChannel as _, Server, Status};
use nmfw_tests::{
    puppet::{PuppetServer, Strings},
    streams::{CountRequest, Flows, StreamsClient, StreamsServer, items},
    streams_process::{Counts, puppet_subject},
};
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().ok_or("an argument is missing");
    let (what, url, subject) = (arg()?, arg()?, arg()?);
    match what.as_str() {
        "serve" => serve(&url, &subject).await,
        "call" => call(&url, &subject, arg()?.parse()?).await,
        _ => Err("serve or call".into()),
    }
}

async fn serve(url: &str, subject: &str) -> Result<(), Error> {
    let flows = Flows::default();
    let told = flows.clone();
    std::thread::spawn(move || tell(&told));
    let puppet = PuppetServer::new(Strings::default()).subject(puppet_subject(subject));
    Server::new(nmfw::connect(url).await?)
        .add_service(StreamsServer::new(flows).subject(subject))
        .add_service(puppet)
        .serve_with_shutdown(nmfw::shutdown_signal())
        .await?;
    Ok(())
}

fn tell(flows: &Flows) {
    let mut out = std::io::stdout();
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        let counts = Counts {
            started: flows.started(),
            finished: flows.finished(),
            dropped: flows.dropped(),
        };
        // Fails if the reader is gone.
        _ = serde_json::to_string(&counts).map(|line| writeln!(out, "{line}"));
    }
}

/// Makes calls that never end by themselves; the service buffers as many messages of them as it
/// may.
async fn call(url: &str, subject: &str, calls: u64) -> Result<(), Error> {
    let channel = Channel::new(nmfw::connect(url).await?).subject(subject);
    let client = StreamsClient::new(channel);
    client.wait_ready(Duration::from_secs(30)).await?;
    let mut tasks = JoinSet::<Result<(), Status>>::new();
    for _ in 0..calls {
        let caller = client.clone();
        tasks.spawn(async move {
            let request = CountRequest {
                to: 1,
                hang: true,
                ..CountRequest::default()
            };
            let mut count = caller.count(request).await?;
            while count.message().await?.is_some() {}
            Ok(())
        });
        let caller = client.clone();
        tasks.spawn(async move {
            let call = caller.sum(items(0, 1_000_000, 4_000));
            call.metadata("pause-micros", "600000000").await.map(drop)
        });
        let caller = client.clone();
        tasks.spawn(async move {
            let silent = items(0, 3, 9).chain(stream::pending());
            let mut chat = caller.chat(silent).await?;
            while chat.message().await?.is_some() {}
            Ok(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(())
}
