//! The targets of nmfw, as ratios within a run.

use crate::{
    peer::Peer,
    results::Results,
    work::{Case, Work},
};

const KIB_64: usize = 64 * 1024;

/// A comparison of two peers.
#[derive(Clone, Copy, Debug)]
struct Target {
    work: Work,
    callers: usize,
    payload: usize,
    peer: Peer,
    against: Peer,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    /// At least this many times the throughput.
    Rate(f64),
    /// At most this many times the median latency.
    Latency(f64),
}

/// The result of a comparison.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) wanted: String,
    /// `None` if one of them was not run.
    pub(super) ratio: Option<f64>,
    pub(super) is_met: bool,
}

const fn rate(
    (work, callers, payload): (Work, usize, usize),
    peer: Peer,
    against: Peer,
    least: f64,
) -> Target {
    Target {
        work,
        callers,
        payload,
        peer,
        against,
        bound: Bound::Rate(least),
    }
}

const fn latency(peer: Peer) -> Target {
    Target {
        work: Work::Unary,
        callers: 1,
        payload: 16,
        peer,
        against: Peer::Raw,
        bound: Bound::Latency(1.05),
    }
}

const U128: (Work, usize, usize) = (Work::Unary, 128, 16);
const U1024: (Work, usize, usize) = (Work::Unary, 1024, 16);

const TARGETS: [Target; 16] = [
    rate(U128, Peer::NmfwBase, Peer::RawHeaders, 0.95),
    rate(U128, Peer::NmfwBase, Peer::GoNmfw, 1.3),
    rate(U128, Peer::Nmfw, Peer::Raw, 3.3),
    rate(U128, Peer::Nmfw, Peer::GoNmfw, 6.0),
    rate(U128, Peer::Nmfw, Peer::Psrpc, 6.0),
    rate(U128, Peer::Nmfw, Peer::Nrpc, 5.0),
    rate(U128, Peer::Nmfw, Peer::GoMicro, 4.0),
    rate(U128, Peer::Nmfw, Peer::Tonic, 4.5),
    rate(U1024, Peer::Nmfw, Peer::Raw, 4.0),
    rate(U1024, Peer::Nmfw, Peer::Tonic, 10.0),
    latency(Peer::Nmfw),
    latency(Peer::NmfwBase),
    rate((Work::UnarySleep, 128, 16), Peer::Nmfw, Peer::GoNmfw, 50.0),
    rate((Work::ServerStreaming, 1, 16), Peer::Nmfw, Peer::Tonic, 1.3),
    rate(
        (Work::ServerStreaming, 1, KIB_64),
        Peer::Nmfw,
        Peer::Raw,
        0.9,
    ),
    rate(
        (Work::ClientStreaming, 1, KIB_64),
        Peer::Nmfw,
        Peer::Raw,
        0.9,
    ),
];

/// Returns the targets whose work was measured.
pub(super) fn judge(results: &Results) -> Vec<Verdict> {
    let measured = results.cases();
    TARGETS
        .iter()
        .filter_map(|target| {
            let case = measured.iter().find(|case| target.is_of(case))?;
            let row = |peer| results.row(target.work, target.callers, target.payload, peer);
            let (ratio, wanted) = match target.bound {
                Bound::Rate(least) => (
                    row(target.peer)
                        .zip(row(target.against))
                        .and_then(|(peer, against)| peer.rate_to(against)),
                    format!("at least {least}"),
                ),
                Bound::Latency(most) => (
                    row(target.peer)
                        .zip(row(target.against))
                        .and_then(|(peer, against)| peer.p50_to(against)),
                    format!("median latency, at most {most}"),
                ),
            };
            let is_met = ratio.is_some_and(|ratio| match target.bound {
                Bound::Rate(least) => ratio >= least,
                Bound::Latency(most) => ratio <= most,
            });
            Some(Verdict {
                what: format!("{}: {} to {}", case.title(), target.peer, target.against),
                wanted,
                ratio,
                is_met,
            })
        })
        .collect()
}

impl Target {
    fn is_of(&self, case: &Case) -> bool {
        (case.work, case.callers, case.payload) == (self.work, self.callers, self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::Row, stats::Sample};

    #[test]
    fn met_missed_and_not_run() {
        let cases = Work::Unary.cases(true);
        let row = |case: &Case, peer, per_second, p50| Row {
            case: *case,
            peer,
            samples: vec![Some(Sample {
                per_second,
                p50_us: Some(p50),
                ..Sample::default()
            })],
            errors: 0,
            note: None,
        };
        let results = Results {
            rows: vec![
                row(&cases[0], Peer::Raw, 1.0, 100.0),
                row(&cases[0], Peer::Nmfw, 1.0, 104.0),
                row(&cases[0], Peer::NmfwBase, 1.0, 106.0),
                row(&cases[1], Peer::Raw, 100.0, 1.0),
                row(&cases[1], Peer::Nmfw, 329.0, 1.0),
            ],
            ..Results::default()
        };
        let verdicts = judge(&results);
        let find = |what: &str| {
            let mut found = verdicts
                .iter()
                .filter(|verdict| verdict.what.ends_with(what));
            found.next().unwrap()
        };
        assert!(find("1 caller, 16 B: nmfw to raw").is_met);
        assert!(!find("1 caller, 16 B: nmfw-base to raw").is_met);
        let missed = find("128 callers, 16 B: nmfw to raw");
        assert!(
            !missed.is_met
                && missed
                    .ratio
                    .is_some_and(|ratio| (ratio - 3.29).abs() < 1e-9)
        );
        assert_eq!(find("nmfw to tonic").ratio, None);
        // Without cases of 1024 callers or streams, those targets are not judged.
        assert_eq!(verdicts.len(), 10);
    }
}
