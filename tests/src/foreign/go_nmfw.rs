//! Go nmfw's example calculator: its service and its client.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{NotAvailable, asked_for};
use crate::failure::{Doing, Failure};
use crate::process::{Output, Running, command, run};

/// The two programs of Go nmfw's calculator example.
#[derive(Debug, Clone)]
pub struct GoNmfw {
    directory: PathBuf,
}

/// Finds the programs `service` and `client` in `$NMFW_GO_BIN`. They are built by hand, from Go
/// nmfw's `example/service/calc` and `example/client/calc`.
///
/// # Errors
///
/// Fails if the variable is unset, or if a program is missing there.
pub fn go_nmfw() -> Result<GoNmfw, NotAvailable> {
    asked_for()?;
    let directory = std::env::var_os("NMFW_GO_BIN")
        .map(PathBuf::from)
        .ok_or_else(|| {
            NotAvailable::new(
                "NMFW_GO_BIN is not set to a directory with Go nmfw's service and client",
            )
        })?;
    for program in ["service", "client"] {
        if !directory.join(program).is_file() {
            return Err(NotAvailable::new(format!(
                "no file `{program}` in NMFW_GO_BIN"
            )));
        }
    }
    Ok(GoNmfw { directory })
}

/// A running Go service, killed when dropped.
#[derive(Debug)]
pub struct GoService {
    running: Running,
    _context: TempDir,
}

impl GoNmfw {
    /// Starts the service and waits until it reports that it serves.
    ///
    /// Do not send it `$SRV.SCHEMA`: that ends it with a nil pointer dereference.
    ///
    /// # Errors
    ///
    /// Fails if it does not, with its log.
    pub async fn serve(&self, url: &str) -> Result<GoService, Failure> {
        let context = context(url)?;
        let mut command = command(
            &self.directory.join("service"),
            ["run", "--context", "test"],
        );
        command.env("XDG_CONFIG_HOME", context.path());
        let running = Running::start(command, "Started on subject").await?;
        Ok(GoService {
            running,
            _context: context,
        })
    }

    /// Runs the client: `add 1 2 3`, `average 1 2`, `expr 2*3`, `--timeout 1s ..`.
    ///
    /// # Errors
    ///
    /// Fails if it could not start or did not end. A call that failed is an [`Output`].
    pub async fn call(&self, url: &str, args: &[&str]) -> Result<Output, Failure> {
        let context = context(url)?;
        let mut command = command(&self.directory.join("client"), ["--context", "test"]);
        command.args(args).env("XDG_CONFIG_HOME", context.path());
        run(command).await
    }
}

impl GoService {
    /// Returns its log of JSON lines.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Stops the service and waits for its end.
    ///
    /// # Errors
    ///
    /// Fails if it does not end.
    pub async fn stop(self) -> Result<(), Failure> {
        self.running.stop().await.map(drop)
    }
}

/// Creates a configuration folder with the NATS context `test`, which the programs require.
fn context(url: &str) -> Result<TempDir, Failure> {
    let home = tempfile::tempdir().doing("create a configuration directory")?;
    let contexts = home.path().join("nats/context");
    fs::create_dir_all(&contexts).doing("create a context directory")?;
    fs::write(
        contexts.join("test.json"),
        serde_json::json!({ "url": url }).to_string(),
    )
    .doing("write a context")?;
    Ok(home)
}
