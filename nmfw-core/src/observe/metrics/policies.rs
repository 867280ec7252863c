//! What is counted of the layers that hold calls back or send them twice.

use metrics::{Counter, Gauge};

use super::{Labels, names};
use crate::Method;

/// Of a method that a hedge layer has seen.
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

/// Of a circuit. Several of a method add up, so that each takes away what it has added.
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

    /// It was closed before.
    pub(crate) fn opened(&self) {
        self.open.increment(1.0);
        self.openings.increment(1);
    }

    /// A probe has failed.
    pub(crate) fn opened_again(&self) {
        self.openings.increment(1);
    }

    /// It was not, before.
    pub(crate) fn closed(&self) {
        self.open.decrement(1.0);
    }

    pub(crate) fn refused(&self) {
        self.refusals.increment(1);
    }
}

/// Of a method that a rate limit layer has seen.
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
