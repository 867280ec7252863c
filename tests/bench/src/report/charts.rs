//! Charts as SVG: one line per peer if the number of callers varies, otherwise one bar per peer.

use std::{error::Error, path::Path};

use nmfw_tests::{Failure, failure::Doing};
use plotters::prelude::*;

use crate::{
    peer::Peer,
    results::Results,
    work::{Case, Work, size},
};

const SIZE: (u32, u32) = (960, 560);

/// A peer's points: callers and value.
type Line = (Peer, Vec<(f64, f64)>);

/// Draws all charts and returns the names of the files.
pub(super) fn draw(out: &Path, results: &Results) -> Result<Vec<String>, Failure> {
    let mut kinds: Vec<(Work, usize)> = Vec::new();
    for case in results.cases() {
        if !kinds.contains(&(case.work, case.payload)) {
            kinds.push((case.work, case.payload));
        }
    }
    let mut names = Vec::new();
    for (work, payload) in kinds {
        let of = |case: &Case| (case.work, case.payload) == (work, payload);
        let cases: Vec<Case> = results.cases().into_iter().filter(of).collect();
        let rates = lines(results, &cases, |rate, _| Some(rate));
        let file = format!("{}-{payload}", work.name());
        let title = format!("{}, {}", work.name(), size(payload));
        let mut put = |name: String, drawn: Result<(), Box<dyn Error>>| {
            drawn.doing(format_args!("draw {name}"))?;
            names.push(name);
            Ok::<(), Failure>(())
        };
        if rates.is_empty() {
            continue;
        }
        let name = format!("{file}-rate.svg");
        let path = out.join(&name);
        if cases.len() == 1 {
            put(name, bars(&path, &format!("{title}, a second"), &rates))?;
            continue;
        }
        put(name, curves(&path, &format!("{title}, a second"), &rates))?;
        let medians = lines(results, &cases, |_, p50| p50);
        if !medians.is_empty() {
            let name = format!("{file}-p50.svg");
            let path = out.join(&name);
            put(
                name,
                curves(&path, &format!("{title}, median latency in us"), &medians),
            )?;
        }
    }
    Ok(names)
}

/// Returns the lines of the peers that have one.
fn lines(
    results: &Results,
    cases: &[Case],
    value: impl Fn(f64, Option<f64>) -> Option<f64>,
) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in results.rows.iter().filter(|row| cases.contains(&row.case)) {
        let summary = row.summary();
        let value = summary.and_then(|summary| value(summary.per_second, summary.p50_us));
        let Some(value) = value.filter(|value| *value > 0.0) else {
            continue;
        };
        #[allow(clippy::cast_precision_loss, reason = "a thousand at most")]
        let point = (row.case.callers as f64, value);
        match lines.iter_mut().find(|(peer, _)| *peer == row.peer) {
            Some((_, points)) => points.push(point),
            None => lines.push((row.peer, vec![point])),
        }
    }
    lines
}

fn color(peer: Peer) -> RGBAColor {
    Palette99::pick(peer as usize).to_rgba()
}

fn curves(path: &Path, title: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let least = |field: fn(&(f64, f64)) -> f64| points().map(field).fold(f64::MAX, f64::min);
    let most = |field: fn(&(f64, f64)) -> f64| points().map(field).fold(f64::MIN, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(
            (least(|point| point.0) * 0.9..most(|point| point.0) * 1.1).log_scale(),
            (least(|point| point.1) * 0.8..most(|point| point.1) * 1.25).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("callers")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    for (peer, points) in lines {
        let color = color(*peer);
        chart
            .draw_series(
                LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3),
            )?
            .label(peer.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

fn bars(path: &Path, title: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let values: Vec<(Peer, f64)> = lines
        .iter()
        .filter_map(|(peer, points)| Some((*peer, points.first()?.1)))
        .collect();
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let rows = i32::try_from(values.len())?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..most * 1.15, (0..rows - 1).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_label_formatter(&|value| short(*value))
        .y_labels(values.len())
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) => usize::try_from(*row)
                .ok()
                .and_then(|row| values.get(row))
                .map_or_else(String::new, |(peer, _)| peer.to_string()),
            _ => String::new(),
        })
        .draw()?;
    for (row, (peer, value)) in (0..).zip(&values) {
        let corners = [
            (0.0, SegmentValue::Exact(row)),
            (*value, SegmentValue::Exact(row + 1)),
        ];
        let mut bar = Rectangle::new(corners, color(*peer).mix(0.8).filled());
        bar.set_margin(6, 6, 0, 0);
        chart.draw_series([bar])?;
        let place = (*value, SegmentValue::CenterOf(row));
        chart.draw_series([Text::new(
            format!(" {}", short(*value)),
            place,
            ("sans-serif", 14),
        )])?;
    }
    root.present()?;
    Ok(())
}

/// Formats like `1.2 M`.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{:.1} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        1e3.. => format!("{:.1} k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::Row, stats::Sample};

    #[test]
    fn draws_lines_and_bars() {
        let row = |case: &Case, peer, per_second| Row {
            case: *case,
            peer,
            samples: vec![Some(Sample {
                per_second,
                p50_us: (case.work == Work::Unary).then_some(1e6 / per_second),
                ..Sample::default()
            })],
            errors: 0,
            note: None,
        };
        let unary = Work::Unary.cases(true);
        let streaming = Work::ServerStreaming.cases(true)[0];
        let results = Results {
            rows: vec![
                row(&unary[0], Peer::Nmfw, 1e4),
                row(&unary[1], Peer::Nmfw, 4e5),
                row(&unary[0], Peer::Raw, 1e4),
                row(&streaming, Peer::Nmfw, 2e6),
                row(&streaming, Peer::Tonic, 1e6),
            ],
            ..Results::default()
        };
        let out = tempfile::tempdir().unwrap();
        let names = draw(out.path(), &results).unwrap();
        assert_eq!(
            names,
            [
                "unary-16-rate.svg",
                "unary-16-p50.svg",
                "server-streaming-16-rate.svg"
            ]
        );
        for name in names {
            let text = std::fs::read_to_string(out.path().join(&name)).unwrap();
            assert!(text.starts_with("<svg") && text.contains("nmfw"), "{name}");
        }
    }

    #[test]
    fn values_are_short() {
        let texts = [0.5, 42.0, 1_234.0, 56_789.0, 2_345_678.0].map(short);
        assert_eq!(texts, ["0.50", "42", "1.2 k", "57 k", "2.3 M"]);
    }
}
