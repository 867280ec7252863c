//! Peers in other languages: what they need is built or installed once, below cargo's target
//! directory.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nmfw_tests::{Failure, failure::Doing, install};

use crate::{launch::Launcher, peer::Peer};

const NATS_PY: &str = "2.16.0";

const NRPC_MODULE: &str = "github.com/nats-rpc/nrpc";
const NMFW_MODULE: &str = "github.com/ripienaar/nmfw/example";

/// The newest nats.go that Go nmfw's example compiles with. It asks for a commit before it, which
/// module proxies may not have.
const NMFW_NATS_GO: &str = "v1.25.0";

/// A first build fetches modules.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The peers in Go. The modules that a proxy has are one program; each of the others, from a
/// checkout that the environment names, is another.
pub(crate) fn go(peer: Peer) -> Result<Launcher, Failure> {
    let go = install::in_path("go").ok_or_else(|| Failure::new("there is no go in PATH"))?;
    let source = beside("go");
    let dir = install::target_dir().join("tools").join("bench-go");
    fs::create_dir_all(&dir).doing("create a directory for the peers in Go")?;
    let own = |name: &str| {
        let path = source.join(name);
        fs::read_to_string(&path).doing(format_args!("read {}", path.display()))
    };
    let mut build = Command::new(go);
    build.arg("build").current_dir(&source);
    let name = match peer {
        Peer::Nrpc => {
            let checkout = checkout("NRPC_GO", "nRPC", "go.mod")?;
            let more = format!(
                "\nrequire {NRPC_MODULE} v0.0.0\nreplace {NRPC_MODULE} => {}\n",
                checkout.display()
            );
            modules(
                &mut build,
                &dir,
                "nrpc",
                own("go.mod")? + &more,
                own("go.sum")?,
            )?
        }
        Peer::GoNmfw => {
            let checkout = checkout("NMFW_GO", "Go nmfw", "example/go.mod")?.join("example");
            let text = format!(
                "module nmfw.example/bench\n\ngo 1.26.0\n\nrequire (\n\t{NMFW_MODULE} v0.0.0\n\
                 \tgithub.com/nats-io/nats.go {NMFW_NATS_GO}\n)\n\nreplace {NMFW_MODULE} => {}\n",
                checkout.display()
            );
            let sums = fs::read_to_string(checkout.join("go.sum")).doing("read its go.sum")?;
            modules(&mut build, &dir, "gonmfw", text, sums)?
        }
        _ => "peers",
    };
    let program = dir.join(name);
    build.arg("-o").arg(&program).arg(".");
    install::run(&mut build, BUILD_LIMIT)?;
    Ok(Launcher::foreign(peer, program, Vec::new(), Vec::new()))
}

/// The directory that a variable names.
fn checkout(variable: &str, what: &str, file: &str) -> Result<PathBuf, Failure> {
    let named = env::var_os(variable).map(PathBuf::from);
    match named {
        None => Err(Failure::new(format!(
            "{variable} names no checkout of {what}"
        ))),
        Some(dir) if dir.join(file).is_file() => dir.canonicalize().doing(variable),
        Some(dir) => Err(Failure::new(format!(
            "{variable}: there is no {file} in {}",
            dir.display()
        ))),
    }
}

/// Builds with a tag and other modules than those beside the sources.
fn modules(
    build: &mut Command,
    dir: &Path,
    tag: &'static str,
    text: String,
    sums: String,
) -> Result<&'static str, Failure> {
    let file = dir.join(format!("{tag}.mod"));
    // What go has added before stays, if all else is the same.
    let begins = |path: &Path, text: &str| {
        fs::read_to_string(path).is_ok_and(|before| before.starts_with(text))
    };
    let wanted = dir.join(format!("{tag}.wanted"));
    if !begins(&wanted, &text) {
        fs::write(&file, &text).doing("write modules")?;
        fs::write(dir.join(format!("{tag}.sum")), sums).doing("write sums")?;
        fs::write(&wanted, &text).doing("write modules")?;
    }
    build.env("GOFLAGS", "-mod=mod").arg("-tags").arg(tag);
    build.arg("-modfile").arg(file);
    Ok(tag)
}

/// nats-py.
pub(crate) fn python(peer: Peer) -> Result<Launcher, Failure> {
    let python = install::in_path("python3");
    let python = python.ok_or_else(|| Failure::new("there is no python3 in PATH"))?;
    // The same place and version as the tests have.
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
