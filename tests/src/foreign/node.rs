//! nats.js on Node.

use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::process::Command;

use super::{NotAvailable, found_once, not_installed, script};
use crate::failure::Failure;
use crate::install;
use crate::process::{Output, Running, command, run};

/// The versions tagged latest on npm. The services package depends on an older core of its own.
const PACKAGES: [&str; 2] = [
    "@nats-io/transport-node@3.4.0",
    "@nats-io/services@3.0.0-25",
];

/// Node with nats.js and its services client.
#[derive(Debug, Clone)]
pub struct Node {
    directory: PathBuf,
}

/// Finds Node, and installs nats.js once from npm below the cargo target directory.
///
/// # Errors
///
/// Fails if there is no Node or npm, or if the installation fails.
pub async fn node() -> Result<Node, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    Ok(Node {
        directory: found_once(&FOUND, install_nats_js).await?,
    })
}

fn install_nats_js() -> Result<PathBuf, NotAvailable> {
    for program in ["node", "npm"] {
        if install::in_path(program).is_none() {
            return Err(NotAvailable::new(format!("no {program} in PATH")));
        }
    }
    install::once("nats-js-3.4.0", |scratch| {
        let mut npm = StdCommand::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--ignore-scripts",
        ])
        .args(["--fetch-retries", "1", "--prefix"])
        .arg(scratch)
        .args(PACKAGES);
        install::run(&mut npm, Duration::from_secs(180)).map(drop)
    })
    .map_err(|failure| not_installed(&failure))
}

impl Node {
    /// Runs a script of `tests/foreign` to its end.
    ///
    /// # Errors
    ///
    /// Fails if it could not start or did not end. A script that failed is an [`Output`].
    pub async fn run(&self, name: &str, args: &[&str]) -> Result<Output, Failure> {
        run(self.command(name, args)).await
    }

    /// Starts a script of `tests/foreign`, and returns when it has printed `ready`.
    ///
    /// # Errors
    ///
    /// Fails if it could not start, or ended before.
    pub async fn start(&self, name: &str, args: &[&str], ready: &str) -> Result<Running, Failure> {
        Running::start(self.command(name, args), ready).await
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = command(Path::new("node"), [script(name)]);
        command
            .args(args)
            .env("NODE_PATH", self.directory.join("node_modules"));
        command
    }
}
