//! Measured and skipped results.

use nmfw_tests::Failure;

use crate::{
    peer::Peer,
    protocol::Outcome,
    stats::{Sample, Summary, ratio},
    work::{Case, Work},
};

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) costs: Vec<Cost>,
    /// Skipped costs.
    pub(crate) skipped: Vec<Skipped>,
}

/// A case of a peer.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) peer: Peer,
    /// One sample per round, in order; `None` for a failed round.
    pub(crate) samples: Vec<Option<Sample>>,
    pub(crate) errors: u64,
    /// The reason why it was skipped, or its error.
    pub(crate) note: Option<String>,
}

/// A cost of a call, a client, a session or a stream other than time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) case: Case,
    pub(crate) peer: Peer,
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// A cost that was not measured.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) case: Case,
    pub(crate) peer: Peer,
    pub(crate) reason: String,
}

impl Row {
    /// Returns whether it is measured in later rounds: it is supported and has not failed.
    pub(crate) fn runs(&self) -> bool {
        self.note.is_none() || self.errors > 0 && !self.samples.is_empty()
    }

    pub(crate) fn add(&mut self, sample: Option<Sample>, outcome: &Outcome) {
        self.samples.push(sample);
        self.errors += outcome.errors;
        if sample.is_none() && outcome.error.is_none() {
            self.errors += 1;
            self.note
                .get_or_insert_with(|| "it produced no result in time".to_owned());
        }
        if let Some(error) = &outcome.error {
            self.note
                .get_or_insert_with(|| format!("an error: {error}"));
        }
    }

    /// Records that its processes are gone or do not answer, so that it is not measured any more.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.samples.clear();
        self.note = Some(failure.to_string());
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        let samples: Vec<Sample> = self.samples.iter().flatten().copied().collect();
        Summary::of(&samples)
    }

    fn field(&self, field: fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        let samples = self.samples.iter();
        samples
            .map(|sample| sample.as_ref().and_then(field))
            .collect()
    }

    /// Returns the throughput relative to another row.
    pub(crate) fn rate_to(&self, other: &Self) -> Option<f64> {
        let rate = |sample: &Sample| Some(sample.per_second);
        ratio(&self.field(rate), &other.field(rate))
    }

    /// Returns the latency relative to another row.
    pub(crate) fn p50_to(&self, other: &Self) -> Option<f64> {
        let p50 = |sample: &Sample| sample.p50_us;
        ratio(&self.field(p50), &other.field(p50))
    }
}

impl Results {
    /// Sorts by work, in this order; rows were measured by setup.
    pub(crate) fn sort(&mut self, works: &[Work]) {
        let place = |case: &Case| works.iter().position(|work| *work == case.work);
        self.rows.sort_by_key(|row| place(&row.case));
    }

    /// Returns the measured cases, each once, in order.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for row in &self.rows {
            if !cases.contains(&row.case) {
                cases.push(row.case);
            }
        }
        cases
    }

    pub(crate) fn row(
        &self,
        work: Work,
        callers: usize,
        payload: usize,
        peer: Peer,
    ) -> Option<&Row> {
        self.rows.iter().find(|row| {
            let case = &row.case;
            (case.work, case.callers, case.payload, row.peer) == (work, callers, payload, peer)
        })
    }
}
