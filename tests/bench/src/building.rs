//! Measures the build of a hello-world service: a separate package with the versions of the
//! workspace's lock file, built from scratch.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nmfw_tests::{Failure, failure::Doing, install};
use serde_json::Value;
use tempfile::TempDir;

use crate::{peer::Peer, process::children_cpu_seconds, results::Cost, work::Case};

const PROTO: &str = include_str!("../hello/hello.proto");

/// Time limit for a full build on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Time limit for downloads.
const FETCH_LIMIT: Duration = Duration::from_secs(300);

/// A package and its target directory, both removed when dropped.
#[derive(Debug)]
struct Package {
    dir: TempDir,
}

/// Builds a release without symbols.
const STRIPPED: &[&str] = &["rustc", "--release", "--", "-C", "strip=symbols"];

/// The build script with and without schemas.
const WHOLE: &str = "nmfw_build::";
const BARE: &str = "nmfw_build::configure().embed_schema(false).";

/// The manifest without and with JSON.
const PLAIN: &str = "\" }\ntokio";
const JSON: &str = "\", features = [\"json\"] }\ntokio";

/// The result of a build.
#[derive(Debug)]
struct Built {
    seconds: f64,
    /// CPU time of all cores, which is less sensitive to other load.
    cpu_seconds: f64,
    /// Number of compiled crates, including those for the build script.
    crates: usize,
    program: PathBuf,
}

/// Builds a peer's service in debug and release mode, and in release mode without symbols.
pub(crate) fn costs(case: &Case, peer: Peer) -> Result<Vec<Cost>, Failure> {
    let package = Package::write(peer)?;
    package.fetch()?;
    let linked = package.linked()?;
    let debug = package.build(&["build"])?;
    let release = package.build(&["build", "--release"])?;
    let size = |built: &Built| {
        let found = fs::metadata(&built.program).doing("read the built program");
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        found.map(|found| found.len() as f64 / 1024.0)
    };
    let full = size(&release)?;
    let stripped = package.build(STRIPPED)?;
    #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
    let mut measures = vec![
        ("crates_linked", "crates", linked as f64),
        ("crates_compiled", "crates", debug.crates as f64),
        ("build_debug", "s", debug.seconds),
        ("build_debug_cpu", "s", debug.cpu_seconds),
        ("build_release", "s", release.seconds),
        ("build_release_cpu", "s", release.cpu_seconds),
        ("binary", "KiB", full),
        ("binary_stripped", "KiB", size(&stripped)?),
    ];
    if peer != Peer::Tonic {
        package.replace("build.rs", WHOLE, BARE)?;
        let without = package.build(STRIPPED)?;
        measures.push(("binary_without_schema", "KiB", size(&without)?));
        package.replace("build.rs", BARE, WHOLE)?;
        package.replace("Cargo.toml", PLAIN, JSON)?;
        let json = package.build(STRIPPED)?;
        measures.push(("binary_with_json", "KiB", size(&json)?));
        #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
        measures.push(("crates_with_json", "crates", package.linked()? as f64));
    }
    let costs = measures.into_iter().map(|(measure, unit, value)| Cost {
        case: *case,
        peer,
        measure: measure.to_owned(),
        unit,
        value,
    });
    Ok(costs.collect())
}

impl Package {
    fn write(peer: Peer) -> Result<Self, Failure> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let workspace = workspace.canonicalize().doing("find the workspace")?;
        let (manifest, build, main) = match peer {
            Peer::Tonic => (
                include_str!("../hello/tonic.toml").to_owned(),
                include_str!("../hello/tonic_build.rs"),
                include_str!("../hello/tonic_main.rs"),
            ),
            _ => (
                manifest(&workspace)?,
                include_str!("../hello/nmfw_build.rs"),
                include_str!("../hello/nmfw_main.rs"),
            ),
        };
        let dir = tempfile::Builder::new()
            .prefix("hello-")
            .tempdir_in(install::target_dir())
            .doing("create a directory for a package")?;
        let put = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::write(file, text).doing(format_args!("write {name}"))
        };
        fs::create_dir(dir.path().join("src")).doing("create its src")?;
        put("Cargo.toml", &manifest)?;
        put("build.rs", build)?;
        put("src/main.rs", main)?;
        put("hello.proto", PROTO)?;
        let lock = workspace.join("Cargo.lock");
        fs::copy(lock, dir.path().join("Cargo.lock")).doing("copy the lock file")?;
        Ok(Self { dir })
    }

    /// Replaces a text in one of the package's files.
    fn replace(&self, name: &str, from: &str, to: &str) -> Result<(), Failure> {
        let file = self.dir.path().join(name);
        let text = fs::read_to_string(&file).doing(format_args!("read {name}"))?;
        if !text.contains(from) {
            return Err(Failure::new(format!("{name} does not contain {from:?}")));
        }
        fs::write(file, text.replacen(from, to, 1)).doing(format_args!("write {name}"))
    }

    /// Returns a cargo command, isolated from settings that would reuse or redirect build output.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(args)
            .current_dir(self.dir.path())
            .env("CARGO_TARGET_DIR", self.dir.path().join("target"))
            .env("RUSTC_WRAPPER", "")
            .env_remove("CARGO_BUILD_TARGET");
        cargo
    }

    /// Fetches all crates into cargo's cache, so that downloads are not timed.
    fn fetch(&self) -> Result<(), Failure> {
        if self.tree("normal,build").is_ok() {
            return Ok(());
        }
        let fetched = install::run(&mut self.cargo(&["fetch"]), FETCH_LIMIT);
        fetched.doing("fetch crates").map(drop)
    }

    /// Returns the dependencies, one crate per line, including only cached ones.
    fn tree(&self, edges: &str) -> Result<String, Failure> {
        let args = ["tree", "--offline", "--quiet", "--prefix=none", "--edges"];
        install::run(self.cargo(&args).arg(edges), FETCH_LIMIT)
    }

    /// Returns the number of crates linked into the program, including its own.
    fn linked(&self) -> Result<usize, Failure> {
        Ok(crates_of_tree(&self.tree("normal,no-proc-macro")?))
    }

    fn build(&self, args: &[&str]) -> Result<Built, Failure> {
        let mut cargo = self.cargo(&args[..1]);
        cargo.args(["--offline", "--quiet", "--message-format=json"]);
        cargo.args(&args[1..]);
        let (began, cpu_before) = (Instant::now(), children_cpu_seconds());
        let text = install::run(&mut cargo, BUILD_LIMIT)?;
        let seconds = began.elapsed().as_secs_f64();
        let (crates, program) = built(&text);
        let program =
            program.ok_or_else(|| Failure::new("cargo did not report the built program"))?;
        Ok(Built {
            seconds,
            cpu_seconds: children_cpu_seconds() - cpu_before,
            crates,
            program,
        })
    }
}

/// Returns the manifest with the paths of this checkout.
fn manifest(workspace: &Path) -> Result<String, Failure> {
    let path = |name: &str| {
        let path = workspace.join(name);
        serde_json::to_string(&path).doing("write a path")
    };
    Ok(include_str!("../hello/nmfw.toml")
        .replace("\"NMFW\"", &path("nmfw")?)
        .replace("\"NMFW-BUILD\"", &path("nmfw-build")?))
}

/// Counts each crate of `cargo tree` once, because it repeats and marks some.
fn crates_of_tree(text: &str) -> usize {
    let crates = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    crates.collect::<HashSet<_>>().len()
}

/// Returns the number of crates and the program from cargo's JSON output.
fn built(text: &str) -> (usize, Option<PathBuf>) {
    let mut crates = HashSet::new();
    let mut program = None;
    for line in text.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        crates.insert(message["package_id"].to_string());
        if let Some(path) = message["executable"].as_str() {
            program = Some(PathBuf::from(path));
        }
    }
    (crates.len(), program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_crates_once() {
        assert_eq!(
            crates_of_tree("a v1.0.0\nb v1.0.0\nb v2.0.0\na v1.0.0 (*)\n"),
            3
        );
        let text = r#"{"reason":"compiler-artifact","package_id":"a","executable":null}
{"reason":"compiler-artifact","package_id":"a","executable":null}
{"reason":"build-script-executed","package_id":"b"}
warning: not JSON
{"reason":"compiler-artifact","package_id":"hello","executable":"/x/hello"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(built(text), (2, Some(PathBuf::from("/x/hello"))));
        assert_eq!(built(""), (0, None));
    }

    #[test]
    fn cargo_can_read_the_packages() {
        for peer in [Peer::Nmfw, Peer::Tonic] {
            let package = Package::write(peer).unwrap();
            let args = ["metadata", "--offline", "--no-deps", "--format-version=1"];
            let text = install::run(&mut package.cargo(&args), FETCH_LIMIT).unwrap();
            assert!(text.contains(r#""name":"hello""#), "{text}");
        }
        let package = Package::write(Peer::Nmfw).unwrap();
        package.replace("build.rs", WHOLE, BARE).unwrap();
        package.replace("Cargo.toml", PLAIN, JSON).unwrap();
        let args = ["metadata", "--offline", "--no-deps", "--format-version=1"];
        let text = install::run(&mut package.cargo(&args), FETCH_LIMIT).unwrap();
        assert!(text.contains(r#""features":["json"]"#), "{text}");
    }
}
