//! Runs protoc on files that nmfw-build cannot parse.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::descriptor_set;
use crate::error::Error;
use crate::options;
use crate::protos::Protos;

/// The environment variable that other build tools also read the path of protoc from.
pub(crate) const VARIABLE: &str = "PROTOC";
/// Time limit of a run. protoc takes about 10 s for the 8,000 files of Google's APIs.
const LIMIT: Duration = Duration::from_secs(600);

/// A protoc program.
#[derive(Debug, Clone)]
pub(crate) struct Protoc {
    program: PathBuf,
    /// Whether the program comes from the builder or the environment, instead of `PATH`.
    is_chosen: bool,
}

/// The reason why there is no descriptor set.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The chosen program does not run, or does not end.
    NotRun(io::Error),
    /// The program in `PATH` does not run.
    Unusable,
    /// The errors that the program reported.
    Errors(String),
    /// The program's descriptor set is not usable.
    Set(Error),
}

impl Protoc {
    /// Finds the chosen program, the one from the environment or the one in `PATH`.
    pub(crate) fn find(chosen: Option<&Path>) -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        if let Some(program) = chosen
            .map(Path::to_owned)
            .or_else(|| named.map(PathBuf::from))
        {
            return Some(Self {
                program,
                is_chosen: true,
            });
        }
        let path = std::env::var_os("PATH")?;
        let name = format!("protoc{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(&path)
            .map(|folder| folder.join(&name))
            .find(|program| program.is_file())
            .map(|program| Self {
                program,
                is_chosen: false,
            })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Compiles the files, which are imported under these names, and everything that they import.
    pub(crate) fn compile(
        &self,
        files: &[PathBuf],
        names: &BTreeSet<String>,
        includes: &[PathBuf],
    ) -> Result<Protos, Refused> {
        let io = |error| Refused::Set(Error::io("create", &std::env::temp_dir(), error));
        let scratch = tempfile::tempdir().map_err(io)?;
        let set = scratch.path().join("set.bin");
        let ours = scratch.path().join("include");
        let ours_file = ours.join(options::FILE);
        let written = ours_file.parent().map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| fs::write(&ours_file, options::SOURCE))
            .map_err(|error| Refused::Set(Error::io("write", &ours_file, error)))?;

        let mut command = Command::new(&self.program);
        command.args(["--include_imports", "--include_source_info"]);
        let mut output = OsString::from("--descriptor_set_out=");
        output.push(&set);
        command.arg(output);
        for folder in includes
            .iter()
            .filter(|folder| folder.is_dir())
            .chain([&ours])
        {
            let mut argument = OsString::from("--proto_path=");
            argument.push(folder);
            command.arg(argument);
        }
        command.args(files);
        let errors = scratch.path().join("errors");
        match run(&mut command, &errors, LIMIT) {
            Ok(true) => {}
            Ok(false) => {
                let text = fs::read(&errors).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Err(Refused::Errors(text));
            }
            Err(error) if self.is_chosen => return Err(Refused::NotRun(error)),
            Err(_) => return Err(Refused::Unusable),
        }
        let bytes = fs::read(&set).map_err(|error| Refused::Set(Error::io("read", &set, error)))?;
        let mut protos = descriptor_set::read(&bytes).map_err(Refused::Set)?;
        let all = protos.pool.files().map(|file| file.name().to_owned());
        protos.imported = all.filter(|name| !names.contains(name)).collect();
        Ok(protos)
    }
}

/// Runs a program until it ends, with its errors in a file. Returns whether it succeeded.
fn run(command: &mut Command, errors: &Path, limit: Duration) -> io::Result<bool> {
    // A file instead of a pipe, which would have to be drained concurrently.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(errors)?)
        .spawn()?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            let what = format!("it did not end within {} s", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_killed() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let errors = dir.path().join("errors");
        let shell = |script: &str, limit| {
            let mut command = Command::new("sh");
            run(command.args(["-c", script]), &errors, limit)
        };
        let long = Duration::from_secs(60);
        assert!(shell("exit 0", long)?);
        assert!(!shell("echo no >&2; exit 1", long)?);
        let start = Instant::now();
        let late = shell("exec sleep 600", Duration::from_millis(50));
        assert_eq!(
            late.map_err(|error| error.kind()),
            Err(io::ErrorKind::TimedOut)
        );
        assert!(start.elapsed() < long);
        Ok(())
    }
}
