//! The cost of receiving traces or metrics.

use std::fmt::Write as _;

use crate::{
    results::{Results, Row},
    work::Work,
};

/// Formats the number of calls relative to the case without a receiver.
pub(super) fn table(out: &mut String, results: &Results) {
    let mut lines = String::new();
    for off in of(results, Work::UnaryTracingOff) {
        let to = |work| {
            let listened = of(results, work).find(|row| row.peer == off.peer);
            let ratio = listened.and_then(|row| row.rate_to(off));
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let [spans, text, metrics] = [
            Work::UnaryTracingSpans,
            Work::UnaryTracingLines,
            Work::UnaryMetrics,
        ]
        .map(to);
        let _ = writeln!(lines, "| {} | {spans} | {text} | {metrics} |", off.peer);
    }
    if !lines.is_empty() {
        let _ = writeln!(
            out,
            "## Tracing and metrics\n\nCalls per second, relative to those without a \
             subscriber.\n\n\
             | peer | spans | a line a span | metrics |\n|---|--:|--:|--:|\n{lines}"
        );
    }
}

fn of(results: &Results, work: Work) -> impl Iterator<Item = &Row> {
    let rows = results.rows.iter();
    rows.filter(move |row| row.case.work == work && row.summary().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{peer::Peer, stats::Sample};

    #[test]
    fn ratios_to_no_subscriber() {
        let row = |work: Work, per_second| Row {
            case: work.cases(true)[0],
            peer: Peer::Nmfw,
            samples: vec![Some(Sample {
                per_second,
                ..Sample::default()
            })],
            errors: 0,
            note: None,
        };
        let mut results = Results {
            rows: vec![
                row(Work::UnaryTracingOff, 100.0),
                row(Work::UnaryTracingSpans, 90.0),
            ],
            ..Results::default()
        };
        let mut out = String::new();
        table(&mut out, &results);
        assert!(out.contains("| nmfw | 0.90 | - | - |"), "{out}");
        results.rows.remove(0);
        out.clear();
        table(&mut out, &results);
        assert_eq!(out, "");
    }
}
