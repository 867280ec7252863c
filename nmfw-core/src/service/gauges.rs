//! Samples running and queued calls for the metrics, and reclaims the slots of stalled streams.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::instance::Instance;

/// The interval of samples, which are taken outside of the path of calls.
const INTERVAL: Duration = Duration::from_secs(1);

/// Samples until aborted.
pub async fn sample(instances: Vec<Arc<Instance>>) {
    let endpoints = instances.iter().flat_map(|instance| &instance.endpoints);
    let mut endpoints: Vec<_> = endpoints
        .map(|endpoint| (endpoint, endpoint.stats.metrics.gauges()))
        .collect();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (endpoint, gauges) in &mut endpoints {
            let admission = &endpoint.admission;
            admission.look();
            gauges.set(
                admission.running(),
                admission.waiting(),
                endpoint.limits.concurrency,
            );
        }
    }
}
