//! `results.md`.

use std::fmt::Write as _;

use super::{Run, growth, listeners, targets};
use crate::{
    peer::Peer,
    protocol::What,
    results::{Results, Row},
    stats::median,
    work::Case,
};

/// Formats the whole report. The charts are file names in the same folder.
pub(super) fn render(run: &Run, results: &Results, charts: &[String]) -> String {
    let mut out = String::from("# Results\n\n");
    circumstances(&mut out, run, results);
    verdicts(&mut out, results);
    for case in results.cases() {
        table(&mut out, results, &case);
    }
    listeners::table(&mut out, results);
    growth::tables(&mut out, results);
    costs(&mut out, results);
    not_run(&mut out, results);
    if !charts.is_empty() {
        out.push_str("## Charts\n\n");
        for chart in charts {
            let _ = writeln!(out, "![{chart}]({chart})");
        }
    }
    out
}

fn circumstances(out: &mut String, run: &Run, results: &Results) {
    let host = &run.host;
    let samples = results
        .rows
        .iter()
        .flat_map(|row| row.samples.iter().flatten());
    let others: Vec<f64> = samples.map(|sample| sample.others).collect();
    let most = others.iter().copied().fold(0.0, f64::max);
    let _ = writeln!(
        out,
        "{}, {} cores of {}, {}. {} alternating rounds of {} ms each, medians over rounds; {:.0} s \
         in total.\n\n\
         Load average {} before and {} after. While a peer was measured, other processes kept {:.2} \
         of {} cores busy (median; at most {most:.2}). On a machine that others use, only ratios \
         within this run count.\n",
        host.date,
        host.cores,
        host.processor,
        host.system,
        run.rounds,
        run.millis,
        run.took.as_secs_f64(),
        host.load,
        run.load_after,
        median(&others).unwrap_or(0.0),
        host.cores,
    );
}

fn verdicts(out: &mut String, results: &Results) {
    let verdicts = targets::judge(results);
    if verdicts.is_empty() {
        return;
    }
    out.push_str("## Targets\n\n| ratio | wanted | is | |\n|---|---|---|---|\n");
    for verdict in verdicts {
        let (ratio, word) = match (verdict.ratio, verdict.is_met) {
            (None, _) => ("-".to_owned(), "not run"),
            (Some(ratio), true) => (format!("{ratio:.2}"), "met"),
            (Some(ratio), false) => (format!("{ratio:.2}"), "missed"),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {ratio} | {word} |",
            verdict.what, verdict.wanted
        );
    }
    out.push('\n');
}

fn table(out: &mut String, results: &Results, case: &Case) {
    let rows: Vec<&Row> = results
        .rows
        .iter()
        .filter(|row| row.case == *case)
        .collect();
    let find = |peer| rows.iter().find(|row| row.peer == peer).copied();
    let (raw, tonic) = (find(Peer::Raw), find(Peer::Tonic));
    let (unit, is_stream) = match case.what {
        What::Download | What::Upload | What::Chat => ("messages/s", true),
        _ => ("calls/s", false),
    };
    let _ = writeln!(
        out,
        "## {}\n\n\
         CPU is microseconds of client / server / broker for one {}.\n\n\
         | peer | {unit} | MB/s | p50 us | p99 us | spread | to raw | to tonic | CPU us |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|",
        case.title(),
        if is_stream { "message" } else { "call" },
    );
    for row in &rows {
        let Some(summary) = row.summary() else {
            let _ = writeln!(out, "| {} | not run | | | | | | | |", row.peer);
            continue;
        };
        let to = |other: Option<&Row>| {
            let ratio = other.and_then(|other| row.rate_to(other));
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        };
        let micros = |value: Option<f64>| value.map_or_else(String::new, |us| format!("{us:.1}"));
        #[allow(clippy::cast_precision_loss, reason = "a MiB at most")]
        let megabytes = summary.per_second * case.payload as f64 / 1e6;
        let _ = writeln!(
            out,
            "| {} | {} | {megabytes:.1} | {} | {} | {:.0} % | {} | {} | {:.2} / {:.2} / {:.2} |",
            row.peer,
            thousands(summary.per_second),
            micros(summary.p50_us),
            micros(summary.p99_us),
            summary.spread * 100.0,
            to(raw),
            to(tonic),
            summary.client_us,
            summary.server_us,
            summary.broker_us,
        );
    }
    out.push('\n');
}

fn costs(out: &mut String, results: &Results) {
    // Growth has separate tables.
    let costs = results.costs.iter();
    let mut costs = costs
        .filter(|cost| cost.case.setup.many.is_none())
        .peekable();
    if costs.peek().is_none() {
        return;
    }
    out.push_str("## Counted\n\n| of | peer | | |\n|---|---|---|--:|\n");
    for cost in costs {
        let (title, measure) = (cost.case.title(), cost.measure.replace('_', ", "));
        let _ = writeln!(
            out,
            "| {title} | {} | {measure} | {:.1} {} |",
            cost.peer, cost.value, cost.unit
        );
    }
    out.push('\n');
}

/// Lists skipped cases and errors, each reason once per peer.
fn not_run(out: &mut String, results: &Results) {
    let mut lines: Vec<(Peer, String, Vec<String>)> = Vec::new();
    let rows = results.rows.iter().filter_map(|row| {
        let note = row.note.as_ref()?;
        let note = match row.errors {
            0 => note.clone(),
            errors => format!("{errors} failed; {note}"),
        };
        Some((row.peer, note, row.case.title()))
    });
    let skipped = results.skipped.iter();
    let skipped = skipped.map(|one| (one.peer, one.reason.clone(), one.case.title()));
    for (peer, note, title) in rows.chain(skipped) {
        let line = lines
            .iter_mut()
            .find(|line| line.0 == peer && line.1 == note);
        match line {
            Some(line) => line.2.push(title),
            None => lines.push((peer, note, vec![title])),
        }
    }
    if lines.is_empty() {
        return;
    }
    out.push_str("## Not run, or with errors\n\n| peer | why | what |\n|---|---|---|\n");
    for (peer, note, titles) in lines {
        let note = note.replace('|', "/").replace('\n', " ");
        let _ = writeln!(out, "| {peer} | {note} | {} |", titles.join("; "));
    }
    out.push('\n');
}

/// Formats like `1,234,567`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::Host, stats::Sample, work::Work};
    use std::time::Duration;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }

    #[test]
    fn lists_skipped_cases_with_reasons() {
        let case = Work::Unary.cases(true)[1];
        let row = |peer, samples, note: Option<&str>| Row {
            case,
            peer,
            samples,
            errors: 0,
            note: note.map(str::to_owned),
        };
        let sample = |per_second| {
            Some(Sample {
                per_second,
                ..Sample::default()
            })
        };
        let results = Results {
            rows: vec![
                row(Peer::Nmfw, vec![sample(4e5)], None),
                row(Peer::Raw, vec![sample(1e5)], None),
                row(Peer::GoMicro, vec![], Some("there is no Go")),
            ],
            ..Results::default()
        };
        let run = Run {
            host: Host::look(),
            load_after: String::new(),
            took: Duration::from_secs(1),
            rounds: 1,
            millis: 1,
        };
        let text = render(&run, &results, &["a.svg".to_owned()]);
        assert!(text.contains("| nmfw | 400,000 | 6.4 |"), "{text}");
        assert!(text.contains("| 4.00 |"), "{text}");
        assert!(text.contains("| go-micro | not run |"), "{text}");
        assert!(
            text.contains("| go-micro | there is no Go | unary, 128"),
            "{text}"
        );
        assert!(text.contains("![a.svg](a.svg)"), "{text}");
    }
}
