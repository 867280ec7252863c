//! Writes the results as CSV, Markdown and charts.

mod charts;
mod csv;
mod growth;
mod listeners;
mod markdown;
mod targets;

use std::{fs, path::Path, time::Duration};

use nmfw_tests::{Failure, failure::Doing};

use crate::{host::Host, results::Results};

/// The circumstances of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) host: Host,
    pub(crate) load_after: String,
    pub(crate) took: Duration,
    pub(crate) rounds: u32,
    pub(crate) millis: u64,
}

/// Writes all files.
pub(crate) fn write(out: &Path, run: &Run, results: &Results) -> Result<(), Failure> {
    let put = |name: &str, text: String| {
        fs::write(out.join(name), text).doing(format_args!("write {name}"))
    };
    put("results.csv", csv::results(results))?;
    put("costs.csv", csv::costs(results))?;
    let charts = charts::draw(out, results)?;
    put("results.md", markdown::render(run, results, &charts))
}
