//! [`cells`]: the figures of a row, as text.

use ratatui::{
    style::{Color, Stylize},
    text::Line,
    widgets::Cell,
};

use super::model::{Group, Row};
use crate::{duration, output::text::peer};

/// The width of the history.
pub(super) const SPARKS: usize = 20;

/// The symbols of the history.
const SPARK: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Returns the cells of a row; the version and the history if it is wide.
pub(super) fn cells(group: &Group, row: &Row, is_wide: bool) -> Vec<Cell<'static>> {
    let number = |text: String| Cell::from(Line::from(text).right_aligned());
    let optional = |number: Option<u64>| number.map_or("-".to_owned(), short);
    let errors = number(per_second(row.error_rate));
    let health = match (row.serving, row.reporting) {
        (_, 0) => Cell::from("-"),
        (serving, all) if serving == all => Cell::from("ok").green(),
        (serving, all) => Cell::from(format!("{serving}/{all}")).yellow().bold(),
    };
    let waiting = number(optional(row.waiting));
    let mut cells = vec![
        Cell::from(peer(group.names().1)).cyan(),
        number(row.instances.len().to_string()),
        number(per_second(row.rate)),
        if row.error_rate > 0.0 {
            errors.red()
        } else {
            errors
        },
        number(row.latency.map_or("-".to_owned(), duration::short)),
        number(optional(row.running)),
        if row.waiting > Some(0) {
            waiting.yellow()
        } else {
            waiting
        },
        health,
    ];
    if is_wide {
        let versions: Vec<_> = row.versions.iter().map(String::as_str).collect();
        cells.push(Cell::from(peer(&versions.join(", "))));
        cells.push(Cell::from(sparks(row)).fg(Color::Blue));
    }
    cells
}

/// Formats a rate: `0`, `0.5`, `950`, `12.3k`.
fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0/s".to_owned(),
        _ if rate < 10.0 => format!("{rate:.1}/s"),
        _ => format!("{}/s", short(rate as u64)),
    }
}

/// Formats a number with at most five characters.
fn short(number: u64) -> String {
    let float = number as f64;
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", float / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", float / 1e6),
        _ => format!("{float:.0e}"),
    }
}

/// Returns the last rates as bars, relative to the highest of them.
fn sparks(row: &Row) -> String {
    let rates: Vec<_> = row.history.iter().rev().take(SPARKS).rev().collect();
    let highest = rates
        .iter()
        .fold(0.0_f64, |highest, rate| highest.max(**rate));
    let top = SPARK.len() - 1;
    let bar = |rate: &&f64| match highest > 0.0 {
        true => SPARK.get((**rate / highest * top as f64).round() as usize),
        false => SPARK.first(),
    };
    rates.iter().filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (12_345, "12.3k"),
            (5_600_000, "5.6M"),
        ] {
            assert_eq!(short(number), text);
        }
        assert_eq!(short(u64::MAX), "2e19");
    }
}
