//! [`Finding`]: a line of the report.

use nmfw_core::escape::Escaped;
use serde::Serialize;

use crate::output::text::{CAUTION, FAINT, GOOD, NAME};

/// The longest text of a finding, in bytes.
const MAX_TEXT: usize = 1024;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Good,
    Note,
    Problem,
}

/// What was found about a service, an instance or the NATS server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    level: Level,
    about: String,
    text: String,
    advice: Option<String>,
}

impl Finding {
    fn new(level: Level, about: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level,
            about: about.into(),
            text: text.into(),
            advice: None,
        }
    }

    pub(super) fn good(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Good, about, text)
    }

    pub(super) fn note(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Note, about, text)
    }

    pub(super) fn problem(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Problem, about, text)
    }

    /// Sets the suggestion.
    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn is(&self, level: Level) -> bool {
        self.level == level
    }

    pub(super) fn text(&self) -> String {
        let (style, word) = match self.level {
            Level::Good => (GOOD, "ok"),
            Level::Note => (NAME, "note"),
            Level::Problem => (CAUTION, "problem"),
        };
        let escaped = |text| Escaped::up_to(text, MAX_TEXT);
        let (about, text) = (escaped(&self.about), escaped(&self.text));
        let mut line = format!("{style}{word:<7}{style:#}  {about}: {text}\n");
        if let Some(advice) = &self.advice {
            line.push_str(&format!("         {FAINT}{}{FAINT:#}\n", escaped(advice)));
        }
        line
    }
}
