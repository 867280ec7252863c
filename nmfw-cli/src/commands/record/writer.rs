//! [`Writer`]: where recorded calls go.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use crate::{
    failure::Failure,
    output::{Output, text::escape_json},
    recorded::Recorded,
};

/// Where the lines go.
pub(super) enum Writer<'a> {
    File(BufWriter<File>, String),
    Output(&'a Output),
}

impl<'a> Writer<'a> {
    pub(super) fn open(path: Option<&Path>, output: &'a Output) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Output(output));
        };
        let shown = path.display().to_string();
        let file = File::create_new(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(format!("{shown} exists already")).hint("choose another name")
            }
            _ => Failure::new(format!("cannot create {shown}")).caused_by(&error),
        })?;
        Ok(Self::File(BufWriter::new(file), shown))
    }

    pub(super) fn line(&mut self, call: &Recorded) -> Result<(), Failure> {
        let line = serde_json::to_string(call)
            .map_err(|error| Failure::new("cannot write JSON").caused_by(&error))?;
        match self {
            Self::Output(output) => output.print(&format!("{}\n", escape_json(&line))),
            Self::File(file, name) => {
                let written = file.write_all(line.as_bytes());
                let written = written.and_then(|()| file.write_all(b"\n"));
                written.map_err(|error| unwritable(name, &error))
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Output(_) => Ok(()),
            Self::File(file, name) => file.flush().map_err(|error| unwritable(name, &error)),
        }
    }
}

fn unwritable(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {name}")).caused_by(error)
}
