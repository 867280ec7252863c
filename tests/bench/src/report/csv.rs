//! Comma-separated values. No field needs quotes: names of works, peers and measures have no commas.

use std::fmt::Write as _;

use crate::results::Results;

/// Formats one line per work, number of callers, size and peer. Skipped cases have no figures and 0
/// rounds.
pub(super) fn results(results: &Results) -> String {
    let mut out =
        String::from("work,peer,callers,payload,per_second,p50_us,p99_us,rounds,spread\n");
    for row in &results.rows {
        let case = &row.case;
        let summary = row.summary();
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{}",
            case.work.name(),
            row.peer,
            case.callers,
            case.payload,
            number(summary.map(|summary| summary.per_second), 1),
            number(summary.and_then(|summary| summary.p50_us), 2),
            number(summary.and_then(|summary| summary.p99_us), 2),
            summary.map_or(0, |summary| summary.rounds),
            number(summary.map(|summary| summary.spread), 3),
        );
    }
    out
}

/// Formats the costs other than time: CPU time per process, allocations, memory.
pub(super) fn costs(results: &Results) -> String {
    let mut out = String::from("work,peer,callers,payload,measure,unit,value\n");
    for row in &results.rows {
        let Some(summary) = row.summary() else {
            continue;
        };
        let case = &row.case;
        for (measure, value) in [
            ("cpu_client", summary.client_us),
            ("cpu_server", summary.server_us),
            ("cpu_broker", summary.broker_us),
        ] {
            let (work, peer) = (case.work.name(), row.peer);
            let _ = writeln!(
                out,
                "{work},{peer},{},{},{measure},us,{value:.3}",
                case.callers, case.payload
            );
        }
    }
    for cost in &results.costs {
        let case = &cost.case;
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{:.3}",
            case.work.name(),
            cost.peer,
            case.callers,
            case.payload,
            cost.measure,
            cost.unit,
            cost.value
        );
    }
    out
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::Peer,
        results::{Cost, Row},
        stats::Sample,
        work::Work,
    };

    fn some() -> Results {
        let case = Work::Unary.cases(true)[1];
        let sample = |per_second| {
            Some(Sample {
                per_second,
                p50_us: Some(10.5),
                p99_us: Some(99.25),
                client_us: 1.5,
                ..Sample::default()
            })
        };
        Results {
            rows: vec![
                Row {
                    case,
                    peer: Peer::NmfwBase,
                    samples: vec![sample(100.0), sample(200.0), None, sample(300.0)],
                    errors: 0,
                    note: None,
                },
                Row {
                    case,
                    peer: Peer::GoMicro,
                    samples: Vec::new(),
                    errors: 0,
                    note: Some("no, none".to_owned()),
                },
            ],
            costs: vec![Cost {
                case,
                peer: Peer::Raw,
                measure: "allocations_client".to_owned(),
                unit: "a call",
                value: 7.0,
            }],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn results_have_these_columns_and_skipped_cases_are_empty() {
        assert_eq!(
            results(&some()),
            "work,peer,callers,payload,per_second,p50_us,p99_us,rounds,spread\n\
             unary,nmfw-base,128,16,200.0,10.50,99.25,3,1.000\n\
             unary,go-micro,128,16,,,,0,\n"
        );
    }

    #[test]
    fn costs_are_a_line_each() {
        assert_eq!(
            costs(&some()),
            "work,peer,callers,payload,measure,unit,value\n\
             unary,nmfw-base,128,16,cpu_client,us,1.500\n\
             unary,nmfw-base,128,16,cpu_server,us,0.000\n\
             unary,nmfw-base,128,16,cpu_broker,us,0.000\n\
             unary,raw,128,16,allocations_client,a call,7.000\n"
        );
    }
}
