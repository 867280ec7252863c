//! Installs receivers for nmfw's traces and metrics, to measure their cost.

use std::{io, thread, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use nmfw_tests::{Failure, failure::Doing};
use tracing_subscriber::{
    filter::LevelFilter, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::setup::Listener;

/// Installs a receiver for the lifetime of this process.
pub(crate) fn listen(tracing: Listener) -> Result<(), Failure> {
    // A common setup: levels below INFO are disabled.
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
    listens.doing("install a subscriber")
}

/// Installs a recorder like that of `Server::metrics`, for client processes too.
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
