//! The `nsc` command, which manages operators, accounts and users.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{NotAvailable, found_once, not_installed};
use crate::failure::{Doing, Failure};
use crate::install;
use crate::process::{Output, command, run};

const VERSION: &str = "2.8.6";

/// The `nsc` program, with its own store for operator, accounts, users and keys.
#[derive(Debug)]
pub struct Nsc {
    program: PathBuf,
    home: TempDir,
}

/// Finds `nsc`: `$NSC`, or the one in `PATH`, or one that Go builds once below the cargo target
/// directory, which takes a minute.
///
/// # Errors
///
/// Fails if there is neither `nsc` nor Go, or if the build fails.
pub async fn nsc() -> Result<Nsc, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    let program = found_once(&FOUND, find).await?;
    let home = tempfile::tempdir().map_err(|e| NotAvailable::new(format!("no folder: {e}")))?;
    Ok(Nsc { program, home })
}

fn find() -> Result<PathBuf, NotAvailable> {
    if let Some(given) = std::env::var_os("NSC").map(PathBuf::from) {
        let mut ask = StdCommand::new(&given);
        return match install::run(ask.arg("--version"), Duration::from_secs(20)) {
            Ok(_) => Ok(given),
            Err(_) => Err(NotAvailable::new("NSC is not the path of a working nsc")),
        };
    }
    if let Some(found) = install::in_path("nsc") {
        return Ok(found);
    }
    if install::in_path("go").is_none() {
        return Err(NotAvailable::new(format!(
            "no nsc {VERSION} by NSC or in PATH, and no go to build it"
        )));
    }
    install::once(&format!("nsc-{VERSION}"), build)
        .map(|directory| directory.join("nsc"))
        .map_err(|failure| not_installed(&failure))
}

/// Builds it as a dependency of an empty module, because `go install` needs lists of versions that
/// not every module proxy provides.
fn build(scratch: &Path) -> Result<(), Failure> {
    let module = tempfile::tempdir().doing("create a directory for the build")?;
    let requirement = format!("require github.com/nats-io/nsc/v2 v{VERSION}");
    fs::write(
        module.path().join("go.mod"),
        format!("module scratch\n\ngo 1.24\n\n{requirement}\n"),
    )
    .doing("write go.mod")?;
    let mut go = StdCommand::new("go");
    go.current_dir(module.path())
        .env("GOFLAGS", "-mod=mod")
        .args(["build", "-o"])
        .arg(scratch.join("nsc"))
        .arg("github.com/nats-io/nsc/v2");
    install::run(&mut go, Duration::from_secs(900)).map(drop)
}

impl Nsc {
    /// Runs commands in `sh`, with `nsc` in `PATH`.
    ///
    /// # Errors
    ///
    /// Fails if a command fails, with the whole output.
    pub async fn sh(&self, script: &str) -> Result<Output, Failure> {
        let bin = self.home.path().join("bin");
        fs::create_dir_all(&bin).doing("create a folder for nsc")?;
        let link = bin.join("nsc");
        if !link.exists() {
            std::os::unix::fs::symlink(&self.program, &link).doing("link nsc")?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(paths).doing("make a PATH")?;
        let home = self.home.path();
        let mut command = command(Path::new("/bin/sh"), ["-euc", script]);
        command
            .env("PATH", path)
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("NKEYS_PATH", home.join("keys"))
            .env("NSC_HOME", home.join("nsc"))
            .current_dir(home);
        run(command).await?.success()
    }

    /// Returns the configuration of a nats-server with the operator and all current accounts.
    ///
    /// # Errors
    ///
    /// Returns the error of `nsc`.
    pub async fn server_config(&self) -> Result<String, Failure> {
        let config = self.sh("nsc generate config --mem-resolver").await?;
        Ok(config.stdout)
    }

    /// Returns the file with a user's credentials.
    ///
    /// # Errors
    ///
    /// Returns the error of `nsc`.
    pub async fn credentials(&self, account: &str, user: &str) -> Result<PathBuf, Failure> {
        let path = self.home.path().join(format!("{account}-{user}.creds"));
        let file = path.display();
        let script =
            format!("nsc generate creds --account {account} --name {user} --output-file '{file}'");
        self.sh(&script).await?;
        Ok(path)
    }

    /// Returns the description of a user by `nsc`.
    ///
    /// # Errors
    ///
    /// Returns the error of `nsc`.
    pub async fn user(&self, account: &str, user: &str) -> Result<Value, Failure> {
        let script = format!("nsc describe user --account {account} --name {user} --json");
        self.sh(&script).await?.json()
    }
}
