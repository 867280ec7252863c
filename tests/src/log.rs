//! The log of a test's own process.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::failure::{Doing, Failure};

/// The lines logged by all threads since the first log of the process was started.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Starts to record. All logs of a process share one subscriber.
    ///
    /// # Errors
    ///
    /// Fails if the process has another subscriber.
    pub fn start() -> Result<Self, Failure> {
        static SHARED: Mutex<Option<Log>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &*shared {
            return Ok(log.clone());
        }
        let log = Self::default();
        tracing::subscriber::set_global_default(log.clone()).doing("listen to logs")?;
        Ok(shared.insert(log).clone())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the warnings and errors that contain `text`: level, message, and fields.
    #[must_use]
    pub fn with(&self, text: &str) -> Vec<String> {
        let lines = self.lines();
        let with = lines.iter().filter(|line| line.contains(text));
        with.cloned().collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a `String` does not fail.
        _ = write!(self.0, " {field}={value:?}");
    }
}
