//! Listening to what nmfw traces, at the costs that this has.

use std::io;

use nmfw_tests::{Failure, failure::Doing};
use tracing_subscriber::{
    filter::LevelFilter, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::setup::Tracing;

/// Has this process listen for as long as it runs.
pub(crate) fn listen(tracing: Tracing) -> Result<(), Failure> {
    // As many programs have it: what is less than INFO is not even looked at.
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    let listens = match tracing {
        Tracing::Off => return Ok(()),
        Tracing::Spans => registry.try_init(),
        Tracing::Lines => {
            let lines = tracing_subscriber::fmt::layer()
                .with_span_events(FmtSpan::CLOSE)
                .with_ansi(false)
                .with_writer(io::sink);
            registry.with(lines).try_init()
        }
    };
    listens.doing("listen to tracing")
}
