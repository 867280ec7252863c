//! The default recorder of a process.

use std::{sync::OnceLock, thread, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use nmfw_core::observe::metrics::names;

/// Bucket bounds in seconds: from a local call to a long stream.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Interval at which the recorder aggregates its samples, even without scrapes.
const UPKEEP: Duration = Duration::from_secs(1);

/// Returns the process's recorder, which the first call installs; `None` if the program has another
/// one.
pub(crate) fn installed() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| match install() {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "the program has installed a metrics recorder, which is used \
                                    instead of nmfw's");
            None
        }
    });
    recorder.as_ref()
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for name in [names::HANDLER_RUNTIME, names::CLIENT_DURATION] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), SECONDS)?;
    }
    let recorder = builder.install_recorder()?;
    let kept = recorder.clone();
    // Runs as long as the process, because the recorder would otherwise keep every sample.
    let upkeep = thread::Builder::new().name("nmfw-metrics".to_owned());
    let started = upkeep.spawn(move || {
        loop {
            thread::sleep(UPKEEP);
            kept.run_upkeep();
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "cannot start the thread that aggregates metrics: samples are \
                                 aggregated only when /metrics is scraped");
    }
    Ok(recorder)
}
