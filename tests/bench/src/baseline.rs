//! Baselines: costs that one run writes to a file, and later runs are compared with.

use std::fmt::Write as _;

use clap::ValueEnum;
use nmfw_tests::{Failure, failure::Doing};

use crate::{
    peer::Peer,
    results::{Cost, Results},
    work::{Case, Work},
};

const HEADER: &str = "work,peer,callers,measure,value";

/// The recorded costs, in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baseline {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
struct Line {
    work: Work,
    peer: Peer,
    callers: usize,
    measure: String,
    value: f64,
}

/// The comparison of a line with the current run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    /// Not a failure, but the file should be updated.
    Less,
    /// Not measured any more, so it could never fail again.
    Gone,
    /// Measured, but not in the file.
    New,
}

/// All lines with the measured values.
#[derive(Debug)]
pub(crate) struct Comparison {
    lines: Vec<(Line, Option<f64>, Verdict)>,
}

/// Returns the relative tolerance of a value. Without a network, counts are reproducible to a few
/// thousandths, but inlining can change with unrelated code. This holds as long as no call
/// allocates more than a kilobyte at a time; such allocations depend on the heap layout, and so on
/// the length of the program's path. With a network, counts also depend on the number of messages
/// per read; runs on a busy machine have differed by at most a twentieth.
pub(crate) fn tolerance(peer: Peer) -> f64 {
    if peer.is_local() { 0.05 } else { 0.1 }
}

impl Baseline {
    /// Returns the costs that a run has measured.
    pub(crate) fn of(results: &Results) -> Self {
        Self {
            lines: results.costs.iter().map(Line::of).collect(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Failure::new(format!("the first line is not `{HEADER}`")));
        }
        let lines = lines.map(|line| Line::parse(line).doing(format_args!("read `{line}`")));
        Ok(Self {
            lines: lines.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn render(&self) -> String {
        let mut out = format!("{HEADER}\n");
        for line in &self.lines {
            let (work, peer) = (line.work.name(), line.peer);
            let _ = writeln!(
                out,
                "{work},{peer},{},{},{}",
                line.callers,
                line.measure,
                number(line.value)
            );
        }
        out
    }

    /// Keeps only this work and these peers; empty lists keep all.
    pub(crate) fn narrow(&mut self, works: &[Work], peers: &[Peer]) {
        self.lines.retain(|line| {
            (works.is_empty() || works.contains(&line.work))
                && (peers.is_empty() || peers.contains(&line.peer))
        });
    }

    /// Returns whether it contains a case of a peer.
    pub(crate) fn has(&self, case: &Case, peer: Peer) -> bool {
        self.lines
            .iter()
            .any(|line| (line.work, line.peer, line.callers) == (case.work, peer, case.callers))
    }

    pub(crate) fn compare(&self, now: &Self) -> Comparison {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                let value = now.value(line);
                let verdict = value.map_or(Verdict::Gone, |value| line.judge(value));
                (line.clone(), value, verdict)
            })
            .collect();
        let new = now.lines.iter().filter(|line| self.value(line).is_none());
        lines.extend(new.map(|line| (line.clone(), Some(line.value), Verdict::New)));
        Comparison { lines }
    }

    fn value(&self, wanted: &Line) -> Option<f64> {
        let mut same = self.lines.iter().filter(|line| line.key() == wanted.key());
        same.next().map(|line| line.value)
    }
}

/// Formats a value with the precision that the tolerances need.
fn number(value: f64) -> String {
    let digits = if value < 1000.0 { 2 } else { 0 };
    format!("{value:.digits$}")
}

impl Line {
    fn of(cost: &Cost) -> Self {
        Self {
            work: cost.case.work,
            peer: cost.peer,
            callers: cost.case.callers,
            measure: cost.measure.clone(),
            value: cost.value,
        }
    }

    fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split(',').collect();
        let [work, peer, callers, measure, value] = *fields.as_slice() else {
            return Err(format!("it does not have the fields {HEADER}"));
        };
        let value: f64 = value.parse().map_err(|_| "its value is not a number")?;
        if !(value.is_finite() && value > 0.0) {
            return Err("its value is not above 0".to_owned());
        }
        Ok(Self {
            work: Work::from_str(work, false)?,
            peer: Peer::from_str(peer, false)?,
            callers: callers
                .parse()
                .map_err(|_| "its number of callers is not a number")?,
            measure: measure.to_owned(),
            value,
        })
    }

    fn key(&self) -> (Work, Peer, usize, &str) {
        (self.work, self.peer, self.callers, &self.measure)
    }

    fn judge(&self, now: f64) -> Verdict {
        let change = now / self.value - 1.0;
        if change > tolerance(self.peer) {
            Verdict::More
        } else if change < -tolerance(self.peer) {
            Verdict::Less
        } else {
            Verdict::Same
        }
    }
}

impl Comparison {
    /// Returns whether a cost has increased, or cannot be compared.
    pub(crate) fn has_failed(&self) -> bool {
        self.lines.is_empty()
            || self.has(Verdict::More)
            || self.has(Verdict::Gone)
            || self.has(Verdict::New)
    }

    /// Returns whether a cost has decreased so much that the file should be updated.
    pub(crate) fn has_improved(&self) -> bool {
        self.has(Verdict::Less)
    }

    fn has(&self, verdict: Verdict) -> bool {
        self.lines.iter().any(|line| line.2 == verdict)
    }

    /// Formats the comparison as a plain-text table.
    pub(crate) fn render(&self) -> String {
        let mut out = format!(
            "{:<12} {:>7}  {:<20} {:>9} {:>9} {:>8} {:>8}\n",
            "peer", "callers", "measure", "was", "is", "change", "allowed"
        );
        for (line, now, verdict) in &self.lines {
            let was = match verdict {
                Verdict::New => "-".to_owned(),
                _ => number(line.value),
            };
            let is = now.map_or_else(|| "-".to_owned(), number);
            let change = match verdict {
                Verdict::New | Verdict::Gone => "-".to_owned(),
                _ => now.map_or_else(String::new, |now| {
                    format!("{:+.1} %", (now / line.value - 1.0) * 100.0)
                }),
            };
            let word = match verdict {
                Verdict::Same => "",
                Verdict::More => "  TOO MUCH",
                Verdict::Less => "  less than before",
                Verdict::Gone => "  NOT MEASURED",
                Verdict::New => "  NOT IN THE FILE",
            };
            let _ = writeln!(
                out,
                "{:<12} {:>7}  {:<20} {was:>9} {is:>9} {change:>8} {:>6.0} %{word}",
                line.peer.to_string(),
                line.callers,
                line.measure,
                tolerance(line.peer) * 100.0,
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "work,peer,callers,measure,value\n\
                        instructions,nmfw-local,1,instructions_client,1000\n\
                        instructions,nmfw,128,instructions_server,2000\n";

    fn baseline(local: f64, nmfw: f64) -> Baseline {
        let mut baseline = Baseline::parse(TEXT).unwrap();
        baseline.lines[0].value = local;
        baseline.lines[1].value = nmfw;
        baseline
    }

    fn verdicts(now: &Baseline) -> (bool, bool) {
        let compared = Baseline::parse(TEXT).unwrap().compare(now);
        (compared.has_failed(), compared.has_improved())
    }

    #[test]
    fn written_baselines_are_read_unchanged() {
        let baseline = Baseline::parse(TEXT).unwrap();
        assert_eq!(baseline.render(), TEXT);
        let case = |work: Work, callers| {
            let mut cases = work.cases(false).into_iter();
            cases.find(|case| case.callers == callers).unwrap()
        };
        assert!(baseline.has(&case(Work::Instructions, 1), Peer::NmfwLocal));
        assert!(!baseline.has(&case(Work::Instructions, 128), Peer::NmfwLocal));
        assert!(!baseline.has(&case(Work::Allocations, 1), Peer::NmfwLocal));
        assert!(!baseline.has(&case(Work::Instructions, 1), Peer::Raw));
    }

    #[test]
    fn unselected_costs_are_left_out() {
        let narrowed = |works: &[Work], peers: &[Peer]| {
            let mut baseline = Baseline::parse(TEXT).unwrap();
            baseline.narrow(works, peers);
            baseline.lines.len()
        };
        assert_eq!(narrowed(&[], &[]), 2);
        assert_eq!(narrowed(&[Work::Instructions], &[]), 2);
        assert_eq!(narrowed(&[], &[Peer::Nmfw, Peer::Raw]), 1);
        assert_eq!(narrowed(&[Work::Allocations], &[Peer::Nmfw]), 0);
    }

    #[test]
    fn malformed_files_are_refused() {
        for line in [
            "instructions,nmfw,1,instructions_client",
            "instructions,nobody,1,instructions_client,5",
            "nothing,nmfw,1,instructions_client,5",
            "instructions,nmfw,some,instructions_client,5",
            "instructions,nmfw,1,instructions_client,five",
            "instructions,nmfw,1,instructions_client,0",
            "instructions,nmfw,1,instructions_client,NaN",
        ] {
            assert!(
                Baseline::parse(&format!("{HEADER}\n{line}\n")).is_err(),
                "{line}"
            );
        }
        assert!(Baseline::parse("").is_err());
    }

    #[test]
    fn more_than_allowed_fails_and_less_does_not() {
        assert_eq!(verdicts(&baseline(1000.0, 2000.0)), (false, false));
        assert_eq!(verdicts(&baseline(1049.0, 2199.0)), (false, false));
        assert_eq!(verdicts(&baseline(1051.0, 2000.0)), (true, false));
        assert_eq!(verdicts(&baseline(1000.0, 2201.0)), (true, false));
        assert_eq!(verdicts(&baseline(951.0, 1801.0)), (false, false));
        assert_eq!(verdicts(&baseline(949.0, 2000.0)), (false, true));
        assert_eq!(verdicts(&baseline(949.0, 2201.0)), (true, true));
    }

    #[test]
    fn costs_on_one_side_only_fail() {
        let mut fewer = baseline(1000.0, 2000.0);
        fewer.lines.pop();
        assert_eq!(verdicts(&fewer), (true, false));
        assert_eq!(verdicts(&Baseline::default()), (true, false));
        let nothing = Baseline::default().compare(&Baseline::default());
        assert!(nothing.has_failed());
        let mut more = baseline(1000.0, 2000.0);
        more.lines[1].callers = 1;
        let both = Baseline::parse(TEXT).unwrap().compare(&more);
        assert!(both.has_failed());
        let text = both.render();
        assert!(
            text.contains("NOT MEASURED") && text.contains("NOT IN THE FILE"),
            "{text}"
        );
    }

    #[test]
    fn the_table_marks_exceeded_costs() {
        let compared = Baseline::parse(TEXT)
            .unwrap()
            .compare(&baseline(1000.0, 2500.0));
        let text = compared.render();
        let line = text.lines().find(|line| line.contains("TOO MUCH")).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>().join(" "),
            "nmfw 128 instructions_server 2000 2500 +25.0 % 10 % TOO MUCH"
        );
    }
}
