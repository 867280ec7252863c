//! Metrics of the client policies.

use metrics::{Counter, Gauge};

use super::{Labels, names};
use crate::Method;

/// Metrics of a method with a hedge layer.
pub(crate) struct HedgeMetrics {
    hedges: Counter,
    wins: Counter,
}

impl HedgeMetrics {
    pub(crate) fn of(method: Method) -> Self {
        let labels = labels(method);
        Self {
            hedges: metrics::counter!(names::CLIENT_HEDGES, labels.all()),
            wins: metrics::counter!(names::CLIENT_HEDGE_WINS, labels.all()),
        }
    }

    pub(crate) fn hedged(&self) {
        self.hedges.increment(1);
    }

    pub(crate) fn won(&self) {
        self.wins.increment(1);
    }
}

/// Metrics of a circuit. The circuits of several layers share a gauge, so each circuit subtracts
/// its own contribution.
pub(crate) struct CircuitMetrics {
    open: Gauge,
    openings: Counter,
    refusals: Counter,
}

impl CircuitMetrics {
    pub(crate) fn of(method: Method) -> Self {
        let labels = labels(method);
        Self {
            open: metrics::gauge!(names::CLIENT_CIRCUITS_OPEN, labels.all()),
            openings: metrics::counter!(names::CLIENT_CIRCUIT_OPENINGS, labels.all()),
            refusals: metrics::counter!(names::CLIENT_CIRCUIT_REFUSALS, labels.all()),
        }
    }

    /// Records that a closed circuit has opened.
    pub(crate) fn opened(&self) {
        self.open.increment(1.0);
        self.openings.increment(1);
    }

    /// Records that a half-open circuit has opened again.
    pub(crate) fn opened_again(&self) {
        self.openings.increment(1);
    }

    /// Records that a circuit has closed.
    pub(crate) fn closed(&self) {
        self.open.decrement(1.0);
    }

    pub(crate) fn refused(&self) {
        self.refusals.increment(1);
    }
}

/// Metrics of a method with a rate limit layer.
pub(crate) struct RateLimitMetrics {
    waits: Counter,
    refusals: Counter,
}

impl RateLimitMetrics {
    pub(crate) fn of(method: Method) -> Self {
        let labels = labels(method);
        Self {
            waits: metrics::counter!(names::CLIENT_RATE_LIMIT_WAITS, labels.all()),
            refusals: metrics::counter!(names::CLIENT_RATE_LIMIT_REFUSALS, labels.all()),
        }
    }

    pub(crate) fn waits(&self) {
        self.waits.increment(1);
    }

    pub(crate) fn refused(&self) {
        self.refusals.increment(1);
    }
}

fn labels(method: Method) -> Labels {
    names::describe();
    Labels::new(method.service().discovery_name(), method.name())
}
