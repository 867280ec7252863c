//! Properties of the machine that the results depend on.

use std::{fs, thread, time::SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The machine's description in the results.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) system: String,
    pub(crate) load: String,
}

impl Host {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processor = model.and_then(|line| line.split_once(':'));
        let date = OffsetDateTime::from(SystemTime::now());
        let whole = date.replace_nanosecond(0).unwrap_or(date);
        Self {
            date: whole.format(&Rfc3339).unwrap_or_default(),
            processor: processor
                .map_or("unknown processor", |(_, name)| name.trim())
                .to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load: load(),
        }
    }
}

/// Returns the load averages of 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let three: Vec<&str> = text.split_whitespace().take(3).collect();
    three.join(" ")
}
