//! How busy the methods are, for whoever measures, and for calls that wait behind streams
//! which do not go on.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use super::instance::Instance;

/// To look once in a while costs calls nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks again and again; who started it ends it.
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
