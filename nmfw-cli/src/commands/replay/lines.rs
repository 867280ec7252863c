//! [`Lines`]: the calls of a file, one after the other.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use crate::{failure::Failure, recorded::Recorded};

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// Reads calls line by line, so that a file can be larger than memory.
pub(super) struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: u64,
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let reader: Box<dyn BufRead + Send> = match name.as_str() {
            "-" => Box::new(BufReader::new(std::io::stdin())),
            _ => Box::new(BufReader::new(File::open(path).map_err(|error| {
                Failure::new(format!("cannot read {name}")).caused_by(&error)
            })?)),
        };
        Ok(Self {
            name,
            reader,
            number: 0,
        })
    }

    /// Returns the next call with the number of its line; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Recorded)>, Failure> {
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.reader).take(MAX_LINE + 1);
            limited.read_until(b'\n', &mut line).map_err(|error| {
                Failure::new(format!("cannot read {}", self.name)).caused_by(&error)
            })?;
            if line.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            let wrong =
                |what: String| Failure::new(format!("{}:{}: {what}", self.name, self.number));
            if line.len() as u64 > MAX_LINE {
                return Err(wrong(format!(
                    "the line has more than {} MiB",
                    MAX_LINE >> 20
                )));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let call = serde_json::from_slice(&line).map_err(|error| {
                wrong(format!("it is no recorded call: {error}"))
                    .hint("`nmfw record SERVICE` writes such files")
            })?;
            return Ok(Some((self.number, call)));
        }
    }
}
