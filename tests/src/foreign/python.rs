//! nats-py.

use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::process::Command;

use super::{NotAvailable, found_once, not_installed, script};
use crate::failure::Failure;
use crate::install;
use crate::process::{Output, Running, command, run};

const VERSION: &str = "2.16.0";

/// Python with nats-py.
#[derive(Debug, Clone)]
pub struct Python {
    packages: PathBuf,
}

/// Finds Python, and installs nats-py once from PyPI below the cargo target directory.
///
/// # Errors
///
/// Fails if there is no Python, or if the installation fails.
pub async fn python() -> Result<Python, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    Ok(Python {
        packages: found_once(&FOUND, install_nats_py).await?,
    })
}

fn install_nats_py() -> Result<PathBuf, NotAvailable> {
    if install::in_path("python3").is_none() {
        return Err(NotAvailable::new("no python3 in PATH"));
    }
    install::once(&format!("nats-py-{VERSION}"), |scratch| {
        let mut pip = StdCommand::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(["--retries", "1", "--target"])
        .arg(scratch)
        .arg(format!("nats-py=={VERSION}"));
        install::run(&mut pip, Duration::from_secs(120)).map(drop)
    })
    .map_err(|failure| not_installed(&failure))
}

impl Python {
    /// Runs a script of `tests/foreign` to its end.
    ///
    /// # Errors
    ///
    /// Fails if it could not start or did not end. A script that failed is an [`Output`].
    pub async fn run(&self, name: &str, args: &[&str]) -> Result<Output, Failure> {
        run(self.command(name, args)).await
    }

    /// Starts a script of `tests/foreign` that keeps running, and waits until it prints `ready`.
    ///
    /// # Errors
    ///
    /// Fails if it does not, with its output.
    pub async fn start(&self, name: &str, args: &[&str], ready: &str) -> Result<Running, Failure> {
        Running::start(self.command(name, args), ready).await
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = command(Path::new("python3"), [script(name)]);
        command
            .args(args)
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
