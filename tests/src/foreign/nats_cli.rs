//! The `nats` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use super::{NotAvailable, found_once, not_installed};
use crate::failure::{Doing, Failure};
use crate::install;
use crate::process::{Output, command, run};

const VERSION: &str = "0.4.0";

/// Since this version it checks service replies against their schema.
const OLDEST: (u32, u32) = (0, 4);

/// The `nats` command line client.
#[derive(Debug, Clone)]
pub struct NatsCli {
    program: PathBuf,
}

/// Finds the `nats` CLI: `$NATS_CLI`, or the one in `PATH` if it is new enough, or one that Go
/// builds once below the cargo target directory, which takes minutes.
///
/// # Errors
///
/// Fails if there is neither `nats` nor Go, or if the build fails.
pub async fn nats_cli() -> Result<NatsCli, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    Ok(NatsCli {
        program: found_once(&FOUND, find).await?,
    })
}

fn find() -> Result<PathBuf, NotAvailable> {
    if let Some(given) = std::env::var_os("NATS_CLI").map(PathBuf::from) {
        return match version(&given) {
            Some(version) if version >= OLDEST => Ok(given),
            Some((major, minor)) => Err(NotAvailable::new(format!(
                "NATS_CLI is version {major}.{minor}, the tests need {VERSION}"
            ))),
            None => Err(NotAvailable::new(
                "NATS_CLI is not the path of a working nats CLI",
            )),
        };
    }
    if let Some(found) = install::in_path("nats")
        && version(&found).is_some_and(|version| version >= OLDEST)
    {
        return Ok(found);
    }
    if install::in_path("go").is_none() {
        return Err(NotAvailable::new(format!(
            "no nats CLI {VERSION} by NATS_CLI or in PATH, and no go to build it"
        )));
    }
    install::once(&format!("natscli-{VERSION}"), build)
        .map(|directory| directory.join("nats"))
        .map_err(|failure| not_installed(&failure))
}

/// Builds it as a dependency of an empty module, because `go install` needs lists of versions that
/// not every module proxy provides.
fn build(scratch: &Path) -> Result<(), Failure> {
    let module = tempfile::tempdir().doing("create a directory for the build")?;
    let requirement = format!("require github.com/nats-io/natscli v{VERSION}");
    fs::write(
        module.path().join("go.mod"),
        format!("module scratch\n\ngo 1.24\n\n{requirement}\n"),
    )
    .doing("write go.mod")?;
    let mut go = StdCommand::new("go");
    go.current_dir(module.path())
        .env("GOFLAGS", "-mod=mod")
        .args(["build", "-o"])
        .arg(scratch.join("nats"))
        .arg("github.com/nats-io/natscli/nats");
    install::run(&mut go, Duration::from_secs(900)).map(drop)
}

/// Parses the major and minor version of `v0.4.0`; a development build has none.
fn version(program: &Path) -> Option<(u32, u32)> {
    let mut ask = StdCommand::new(program);
    let printed = install::run(ask.arg("--version"), Duration::from_secs(20)).ok()?;
    let mut parts = printed.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl NatsCli {
    /// Runs `nats` with these arguments and this server, ignoring the user's contexts.
    ///
    /// # Errors
    ///
    /// Fails if it could not start or did not end. A command that failed is an [`Output`].
    pub async fn run(&self, url: &str, args: &[&str]) -> Result<Output, Failure> {
        let home = tempfile::tempdir().doing("create a configuration directory")?;
        let mut command = command(&self.program, ["--no-context", "--server", url]);
        command
            .args(args)
            .env("XDG_CONFIG_HOME", home.path())
            .env_remove("NATS_CONTEXT");
        run(command).await
    }
}
