//! An instance for tests that stop or overload it: `instance <orders as JSON>`, see
//! `nmfw_tests::instance`.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use nmfw::{
    Server, Status,
    middleware::{self, Next, Request},
};
use nmfw_tests::{
    instance::{CALL_ID, Orders, Report},
    puppet::{PuppetServer, Strings},
    streams::{Flows, StreamsServer},
};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let orders = std::env::args().nth(1).ok_or("no orders given")?;
    let orders: Orders = serde_json::from_str(&orders)?;
    let journal = File::options()
        .create(true)
        .append(true)
        .open(&orders.journal)?;
    let journal = Arc::new(journal);
    // The layer sees exactly the calls that were admitted.
    let write_down = middleware::from_fn(move |request: Request, next: Next| {
        let journal = Arc::clone(&journal);
        async move {
            if let Some(id) = request.metadata().get(CALL_ID) {
                // In one write, which outlives a kill.
                (&*journal)
                    .write_all(format!("{id}\n").as_bytes())
                    .map_err(|error| Status::internal(error.to_string()))?;
            }
            next.run(request).await
        }
    });
    let (strings, flows) = (Strings::default(), Flows::default());
    let mut puppet = PuppetServer::new(strings.clone());
    let mut streams = StreamsServer::new(flows.clone());
    if let Some(limit) = orders.concurrency {
        puppet = puppet.concurrency(limit);
        streams = streams.concurrency(limit);
    }
    if let Some(length) = orders.queue {
        puppet = puppet.queue(length);
        streams = streams.queue(length);
    }
    let running = Server::new(nmfw::connect(orders.url).await?)
        .add_service(puppet)
        .add_service(streams)
        .layer(write_down)
        .grace(orders.grace)
        .start()
        .await?;
    let told = nmfw::shutdown_signal().recv();
    // Polled once, so that the signal is handled before the process reports that it serves.
    let mut told = std::pin::pin!(told);
    tokio::select! {
        biased;
        () = &mut told => {}
        () = std::future::ready(()) => {}
    }
    say(Report::Serving)?;
    told.await;
    let under_way = |started: u64, ended: u64| started.saturating_sub(ended);
    say(Report::Stopping {
        unary: under_way(strings.started(), strings.finished() + strings.dropped()),
        streams: under_way(flows.started(), flows.finished() + flows.dropped()),
    })?;
    running.stop();
    running.join().await?;
    say(Report::Stopped {
        dropped: strings.dropped() + flows.dropped(),
    })?;
    if orders.lingers {
        std::future::pending::<()>().await;
    }
    Ok(())
}

fn say(report: Report) -> Result<(), Error> {
    let mut line = serde_json::to_string(&report)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}
