//! Prometheus and its linter, from Debian's package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{NotAvailable, asked_for, found_once, not_installed};
use crate::failure::{Doing, Failure};
use crate::install;

const FETCH: Duration = Duration::from_secs(120);

/// The programs `prometheus` and `promtool`.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The server, which scrapes metrics.
    pub prometheus: PathBuf,
    /// The tool that checks metrics.
    pub promtool: PathBuf,
}

/// Finds both programs: in `PATH`, or from Debian's package, which is unpacked once below the cargo
/// target directory and not installed.
///
/// # Errors
///
/// Fails if they are missing and `apt-get` cannot download them.
pub async fn programs() -> Result<Programs, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    asked_for()?;
    if let (Some(prometheus), Some(promtool)) =
        (install::in_path("prometheus"), install::in_path("promtool"))
    {
        return Ok(Programs {
            prometheus,
            promtool,
        });
    }
    let bin = found_once(&FOUND, find).await?.join("usr/bin");
    Ok(Programs {
        prometheus: bin.join("prometheus"),
        promtool: bin.join("promtool"),
    })
}

fn find() -> Result<PathBuf, NotAvailable> {
    if install::in_path("apt-get").is_none() || install::in_path("dpkg").is_none() {
        return Err(NotAvailable::new(
            "no prometheus and promtool in PATH, and no apt-get to get them",
        ));
    }
    install::once("prometheus", unpack).map_err(|failure| not_installed(&failure))
}

fn unpack(directory: &Path) -> Result<(), Failure> {
    let download = || {
        let mut download = Command::new("apt-get");
        download
            .args(["download", "prometheus"])
            .current_dir(directory);
        install::run(&mut download, FETCH)
    };
    if download().is_err() {
        // The lists of packages may never have been fetched.
        install::run(Command::new("apt-get").arg("update"), FETCH)?;
        download()?;
    }
    let files = std::fs::read_dir(directory).doing("look for the package")?;
    let mut packages = files.filter_map(|file| Some(file.ok()?.path()));
    let package = packages.find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.ok_or_else(|| Failure::new("apt-get downloaded no package"))?;
    let mut unpack = Command::new("dpkg");
    unpack.arg("-x").arg(&package).arg(directory);
    install::run(&mut unpack, FETCH)?;
    std::fs::remove_file(&package).doing("remove the package")
}
