//! Growth of costs, with one table per kind of item.

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::{peer::Peer, results::Results, setup::Many};

/// Column titles, with their measures.
const COLUMNS: [(&str, &str); 8] = [
    ("server starts, ms", "startup_server"),
    ("clients start, ms", "startup_clients"),
    ("server, KiB", "memory_server"),
    ("client, KiB", "memory_client"),
    ("broker, KiB", "memory_broker"),
    ("128 callers, calls/s", "calls_128_callers"),
    ("server's CPU, us a call", "cpu_server_128_callers"),
    ("1 caller, p50 us", "p50_1_caller"),
];

pub(super) fn tables(out: &mut String, results: &Results) {
    for many in Many::value_variants() {
        table(out, results, *many);
    }
}

fn table(out: &mut String, results: &Results, many: Many) {
    let mut rows: Vec<(Peer, usize)> = Vec::new();
    for cost in &results.costs {
        if let Some((of, count)) = cost.case.setup.many
            && of == many
            && !rows.contains(&(cost.peer, count))
        {
            rows.push((cost.peer, count));
        }
    }
    if rows.is_empty() {
        return;
    }
    rows.sort();
    let titles = COLUMNS.map(|(title, _)| title).join(" | ");
    let _ = writeln!(
        out,
        "## growth, {many}\n\n| peer | {many} | {titles} |\n|---|--:{}|",
        "|--:".repeat(COLUMNS.len())
    );
    for (peer, count) in rows {
        let _ = write!(out, "| {peer} | {count} |");
        for (_, measure) in COLUMNS {
            let measure = format!("{many}_{measure}");
            let value = results.costs.iter().find(|cost| {
                cost.peer == peer
                    && cost.case.setup.many == Some((many, count))
                    && cost.measure == measure
            });
            let text = value.map_or_else(String::new, |cost| figure(cost.value));
            let _ = write!(out, " {text} |");
        }
        out.push('\n');
    }
    out.push('\n');
}

fn figure(value: f64) -> String {
    let digits = usize::from(value < 100.0);
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::Cost, work::Work};

    #[test]
    fn a_row_for_each_count_with_empty_cells_for_missing_values() {
        let cases = Work::Growth.cases(false);
        let cost = |count, measure: &str, value| Cost {
            case: *cases
                .iter()
                .find(|case| case.setup.many == Some((Many::Services, count)))
                .unwrap(),
            peer: Peer::Nmfw,
            measure: format!("services_{measure}"),
            unit: "",
            value,
        };
        let results = Results {
            costs: vec![
                cost(10, "startup_server", 3.2),
                cost(1, "memory_server", 1000.0),
                cost(1, "startup_server", 2.0),
            ],
            ..Results::default()
        };
        let mut out = String::new();
        tables(&mut out, &results);
        assert!(out.starts_with("## growth, services\n"), "{out}");
        assert!(
            out.ends_with(
                "| nmfw | 1 | 2.0 |  | 1000 |  |  |  |  |  |\n| nmfw | 10 | 3.2 |  |  |  |  |  |  |  |\n\n"
            ),
            "{out}"
        );
        assert_eq!(out.matches("##").count(), 1);
    }
}
