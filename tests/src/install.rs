//! Programs that the tests install once, kept below the cargo target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure};

/// Returns the cargo target directory of the running test.
///
/// Cargo does not pass it to a test at run time, but it marks the directory, which contains the
/// test binary.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| {
            exe.ancestors()
                .find(|dir| dir.join("CACHEDIR.TAG").is_file())
                .map(Path::to_path_buf)
        })
        .or_else(|| std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// Looks `name` up in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Returns the directory `<target>/tools/<name>`, filled by `fill` the first time.
///
/// If several test processes need it at once, one fills it while the others wait for its file lock.
/// `fill` gets an empty scratch directory, which is renamed only after it returned `Ok`, so an
/// existing directory is complete.
///
/// # Errors
///
/// Returns the error of `fill`, or fails if the directories cannot be created. Nothing is left
/// behind then, and the next call tries again.
pub fn once(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let tools = target_dir().join("tools");
    let place = tools.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    fs::create_dir_all(&tools).doing(format_args!("create {}", tools.display()))?;
    let lock_path = tools.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).doing(format_args!("create {}", lock_path.display()))?;
    lock.lock()
        .doing(format_args!("lock {}", lock_path.display()))?;
    if place.is_dir() {
        return Ok(place);
    }
    let scratch = tempfile::Builder::new()
        .prefix(&format!(".{name}-"))
        .tempdir_in(&tools)
        .doing("create a scratch directory")?;
    fill(scratch.path())?;
    let filled = scratch.keep();
    if let Err(error) = fs::rename(&filled, &place) {
        _ = fs::remove_dir_all(&filled);
        // `.ci/deploy-lint` fills some of the same directories, without a lock.
        if !place.is_dir() {
            return Err(error).doing(format_args!("move {} into place", filled.display()));
        }
    }
    Ok(place)
}

/// Runs `command` to its end, within `limit`.
///
/// # Errors
///
/// Fails if it cannot be started, does not end in time, in which case it is killed, or ends with an
/// error; the text contains the command and the end of its output.
pub fn run(command: &mut Command, limit: Duration) -> Result<String, Failure> {
    let (status, text) = output(command, limit)?;
    if status.success() {
        Ok(text)
    } else {
        let told = told(command);
        let end = tail(&text, 30);
        Err(Failure::new(format!("`{told}`: {status}\n{end}")))
    }
}

/// Runs `command` to its end, within `limit`, and returns all of its output.
///
/// # Errors
///
/// Fails if it cannot be started, or does not end in time, in which case it is killed.
pub fn output(command: &mut Command, limit: Duration) -> Result<(ExitStatus, String), Failure> {
    let told = told(command);
    // A file rather than a pipe, so that no thread has to read it while this waits with a limit.
    let output = tempfile::NamedTempFile::new().doing("create an output file")?;
    let file = output.as_file();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().doing("share the output file")?)
        .stderr(file.try_clone().doing("share the output file")?)
        .spawn()
        .doing(format_args!("start `{told}`"))?;
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().doing(format_args!("wait for `{told}`"))? {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let bytes = fs::read(output.path()).doing("read the output file")?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match status {
        Some(status) => Ok((status, text)),
        None => Err(Failure::new(format!(
            "`{told}` did not end within {limit:?}\n{}",
            tail(&text, 30)
        ))),
    }
}

/// Returns the last `lines` lines of `text`.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

pub(crate) fn told(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
