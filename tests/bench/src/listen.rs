//! Listening to what nmfw tells of itself, at the costs that this has.

use std::{io, thread, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use nmfw_tests::{Failure, failure::Doing};
use tracing_subscriber::{
    filter::LevelFilter, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::setup::Listener;

/// Has this process listen for as long as it runs.
pub(crate) fn listen(tracing: Listener) -> Result<(), Failure> {
    // As many programs have it: what is less than INFO is not even looked at.
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let listens = match tracing {
        Listener::Off => return Ok(()),
        Listener::Metrics => return record(),
        Listener::Spans => registry.try_init(),
        Listener::Lines => {
            let lines = tracing_subscriber::fmt::layer()
                .with_span_events(FmtSpan::CLOSE)
                .with_ansi(false)
                .with_writer(io::sink);
            registry.with(lines).try_init()
        }
    };
    listens.doing("listen to tracing")
}

/// As `Server::metrics` has it, for a process of clients too.
fn record() -> Result<(), Failure> {
    let seconds = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0];
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Prefix("nmfw_".to_owned()), &seconds)
        .and_then(PrometheusBuilder::install_recorder)
        .doing("install a recorder")?;
    // Ends with the process.
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            recorder.run_upkeep();
        }
    });
    Ok(())
}
