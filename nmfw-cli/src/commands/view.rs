//! Views of discovery: printed once, or again and again with `--watch`.

use std::time::Duration;

use clap::Args;

use crate::{
    discovery::Survey,
    duration,
    failure::{Exit, Failure},
    output::{
        Output,
        text::{FAINT, count},
    },
};

/// The least interval of `--watch`, because all instances answer each time.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Moves the cursor to the top left, and erases what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// The option to repeat a view.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// Repeat it every 2 s, or at this interval, until Ctrl-C
    ///
    /// On a terminal, the new output replaces the old one; with --json, there is a line for each time.
    #[arg(
        long = "watch",
        short = 'w',
        value_name = "INTERVAL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = interval
    )]
    interval: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short < MIN_INTERVAL => {
            Err("it must be at least 1s, because every instance answers each time".to_owned())
        }
        interval => Ok(interval),
    }
}

/// The output of one time.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// For standard error.
    pub(crate) warnings: Vec<String>,
    /// The failure that the command ends with, although it prints its text.
    pub(crate) verdict: Option<Failure>,
}

impl Page {
    /// Adds warnings about answers that are missing or not valid.
    pub(crate) fn about(mut self, survey: &Survey) -> Self {
        self.warnings.extend(warnings(survey));
        self
    }
}

fn warnings(survey: &Survey) -> Vec<String> {
    let mut warnings = Vec::new();
    if let [(first, verb), ..] = &survey.silent[..] {
        let others = match survey.silent.len() - 1 {
            0 => String::new(),
            more => format!(", and {} more did not answer", count(more, "instance")),
        };
        warnings.push(format!(
            "instance {} of {} answered, but not to {verb}{others}",
            first.id, first.name
        ));
    }
    if let Some(first) = &survey.first_invalid {
        warnings.push(format!(
            "{} left out, because they are not valid; the first: {first}",
            match survey.invalid {
                1 => "1 answer was".to_owned(),
                number => format!("{number} answers were"),
            }
        ));
    }
    if survey.is_cut {
        warnings.push(
            "there were too many answers to read all: name a service, or find out what answers \
             so often"
                .to_owned(),
        );
    }
    warnings
}

impl Watch {
    /// Prints pages: one, or one for each interval. `page` gets the time since the last one.
    pub(crate) async fn show(
        &self,
        output: &Output,
        mut page: impl AsyncFnMut(Option<Duration>) -> Result<Page, Failure>,
    ) -> Result<(), Failure> {
        let Some(interval) = self.interval else {
            let page = page(None).await?;
            output.print(&page.text)?;
            for warning in &page.warnings {
                output.warn(warning);
            }
            return page.verdict.map_or(Ok(()), Err);
        };
        let redraws = output.is_terminal() && !output.is_json();
        let mut ticks = tokio::time::interval(interval);
        // Instances must not be asked in a burst after the program was suspended.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last: Option<std::time::Instant> = None;
        loop {
            ticks.tick().await;
            let now = std::time::Instant::now();
            let since = last.replace(now).map(|last| now.duration_since(last));
            match page(since).await {
                Ok(page) if redraws => {
                    let footer = footer(&page.warnings, interval);
                    output.print(&format!("{CLEAR}{}{footer}", page.text))?;
                }
                Ok(page) => {
                    if since.is_some() && !output.is_json() {
                        output.print("\n")?;
                    }
                    output.print(&page.text)?;
                    page.warnings
                        .iter()
                        .for_each(|warning| output.warn(warning));
                }
                // A service, or the NATS server, may come back.
                Err(failure)
                    if since.is_some()
                        && matches!(failure.status(), Exit::NotFound | Exit::Unconnected) =>
                {
                    output.warn(failure.message());
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn footer(warnings: &[String], interval: Duration) -> String {
    let mut text = String::new();
    for warning in warnings {
        text.push_str(&format!(
            "\nwarning: {}\n",
            nmfw_core::escape::Escaped::new(warning)
        ));
    }
    text.push_str(&format!(
        "\n{FAINT}Every {interval:?}; Ctrl-C ends it{FAINT:#}\n"
    ));
    text
}
