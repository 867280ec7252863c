//! Peers in other languages. Published ones are built or installed once, below cargo's target
//! directory; others are used as prebuilt programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nmfw_tests::{Failure, failure::Doing, install};

use crate::{launch::Launcher, peer::Peer};

const NATS_PY: &str = "2.16.0";

/// Time limit of a build, which may fetch modules.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the peers in Go, whose program takes the peer's name as an argument.
pub(crate) fn go(peer: Peer) -> Result<Launcher, Failure> {
    let program = match peer {
        Peer::Nrpc => ready_built("NRPC_GO_BIN")?,
        Peer::GoNmfw => ready_built("NMFW_GO_BIN")?,
        _ => built()?,
    };
    Ok(Launcher::foreign(peer, program, Vec::new(), Vec::new()))
}

/// Builds the program of the peers with published modules.
fn built() -> Result<PathBuf, Failure> {
    let go = install::in_path("go").ok_or_else(|| Failure::new("there is no go in PATH"))?;
    let dir = install::target_dir().join("tools").join("bench-go");
    fs::create_dir_all(&dir).doing("create a directory for the peers in Go")?;
    let program = dir.join("peers");
    let mut build = Command::new(go);
    build.arg("build").current_dir(beside("go"));
    build.arg("-o").arg(&program).arg(".");
    install::run(&mut build, BUILD_LIMIT)?;
    Ok(program)
}

/// Returns the program `bench` in the folder named by a variable. `README.md` describes how to
/// build it.
fn ready_built(variable: &str) -> Result<PathBuf, Failure> {
    let folder = env::var_os(variable).ok_or_else(|| {
        Failure::new(format!(
            "{variable} is not set to a folder with a program `bench`"
        ))
    })?;
    let program = PathBuf::from(folder).join("bench");
    if program.is_file() {
        Ok(program)
    } else {
        let shown = program.display();
        Err(Failure::new(format!("{variable}: {shown} does not exist")))
    }
}

/// Returns the launcher of nats-py.
pub(crate) fn python(peer: Peer) -> Result<Launcher, Failure> {
    let python = install::in_path("python3");
    let python = python.ok_or_else(|| Failure::new("there is no python3 in PATH"))?;
    // The folder and version are those of the tests.
    let packages = install::once(&format!("nats-py-{NATS_PY}"), |scratch| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(scratch)
            .arg(format!("nats-py=={NATS_PY}"));
        install::run(&mut pip, Duration::from_secs(120)).map(drop)
    })?;
    Ok(Launcher::foreign(
        peer,
        python,
        vec![beside("python/peer.py")],
        vec![
            ("PYTHONPATH", packages),
            ("PYTHONDONTWRITEBYTECODE", PathBuf::from("1")),
        ],
    ))
}
