//! Progress bars, on terminals only.

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str =
    "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

/// A bar on standard error, if that is a terminal. It disappears when dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(what: impl Into<String>, size: u64) -> Self {
        let bar = ProgressBar::new(size).with_message(what.into());
        match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => bar.set_style(style),
            Err(error) => tracing::debug!(%error, "the style of the progress bar is invalid"),
        }
        Self(bar)
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Sets the starting position.
    pub(super) fn start_at(&self, bytes: u64, size: u64) {
        self.0.set_length(size);
        self.0.set_position(bytes);
        // Resets the estimate, because the existing data would otherwise count as fast progress.
        self.0.reset_eta();
    }

    pub(super) fn expect(&self, more: u64) {
        self.0.inc_length(more);
    }

    pub(super) fn message(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
