//! A cargo workspace with a package for the code of each tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nmfw_tests::failure::{Doing as _, Failure};
use nmfw_tests::install;
use serde::Deserialize;

/// The time that building the generating program may take.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Without optimization, prost's derive macros take most of the time.
const PROFILE: &str = "
[profile.dev]
debug = false
[profile.dev.package]
prost-derive = { opt-level = 2 }
proc-macro2 = { opt-level = 2 }
quote = { opt-level = 2 }
syn = { opt-level = 2 }
";

/// Returns the folder of all files that this test creates.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("proto-trees")
}

/// Returns the name of a tree's package, which no other package has.
fn package(tree: &str) -> String {
    format!("tree-{tree}")
}

/// Returns the beginning of a manifest.
pub(crate) fn manifest(name: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n")
}

/// Writes a file, unless it has this content already, and creates its folder.
///
/// # Errors
/// Fails if the file cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).doing(format_args!("create {}", folder.display()))?;
    fs::write(path, text).doing(format_args!("write {}", path.display()))
}

/// Reads the lock file of this repository, with the versions used by all other tests.
fn workspace_lock() -> Result<String, Failure> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::read_to_string(&path).doing(format_args!("read {}", path.display()))
}

/// Reads a file of JSON.
///
/// # Errors
/// Fails if the file cannot be read, or has other contents.
pub(crate) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Failure> {
    let text = fs::read(path).doing(format_args!("read {}", path.display()))?;
    serde_json::from_slice(&text).doing(format_args!("read {}", path.display()))
}

/// The workspace.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
    members: Vec<String>,
}

impl Scratch {
    /// Creates a workspace without packages.
    pub(crate) fn new() -> Self {
        Self {
            root: root(),
            members: Vec::new(),
        }
    }

    /// Returns the folder of a tree's package.
    pub(crate) fn folder(&self, tree: &str) -> PathBuf {
        self.root.join("workspace").join(tree)
    }

    /// Builds the generating program, and returns its path.
    ///
    /// # Errors
    /// Fails if the program does not compile.
    pub(crate) fn build_program(&self) -> Result<PathBuf, Failure> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-trees");
        let target = self.root.join("target");
        let lock = source.join("Cargo.lock");
        if !lock.exists() {
            write(&lock, &workspace_lock()?)?;
        }
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--target-dir"])
            .arg(&target)
            .current_dir(&source);
        install::run(&mut build, BUILD_LIMIT)?;
        Ok(target.join("debug/nmfw-proto-trees"))
    }

    /// Adds a package with a tree's generated code. All warnings are errors in it.
    ///
    /// # Errors
    /// Fails if the package cannot be written.
    pub(crate) fn add(&mut self, tree: &str) -> Result<(), Failure> {
        let folder = self.folder(tree);
        let nmfw = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nmfw");
        let manifest = format!(
            "{}[dependencies]\nnmfw = {{ path = {:?} }}\n\n[lints.rust]\nwarnings = \"deny\"\n",
            manifest(&package(tree)),
            nmfw.display().to_string(),
        );
        write(&folder.join("Cargo.toml"), &manifest)?;
        let code = "include!(\"../nmfw/whole_tree.rs\");\n";
        write(&folder.join("src/lib.rs"), code)?;
        self.members.push(tree.to_owned());
        Ok(())
    }

    /// Checks all packages, and returns the errors and warnings of each.
    ///
    /// # Errors
    /// Fails if cargo cannot be run, a dependency does not compile, or the check takes longer than
    /// `limit`.
    pub(crate) fn check(&self, limit: Duration) -> Result<Vec<String>, Failure> {
        let workspace = self.root.join("workspace");
        let members = &self.members;
        let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n{PROFILE}");
        write(&workspace.join("Cargo.toml"), &manifest)?;
        write(&workspace.join("Cargo.lock"), &workspace_lock()?)?;

        let mut check = Command::new(env!("CARGO"));
        check
            .args(["check", "--workspace", "--keep-going", "--quiet"])
            .arg("--message-format=json")
            .arg("--target-dir")
            .arg(self.root.join("target"))
            .current_dir(&workspace);
        let (status, printed) = install::output(&mut check, limit)?;
        let mut failures = BTreeMap::new();
        for line in printed.lines() {
            if let Ok(message) = serde_json::from_str::<Message>(line)
                && let Some(text) = message.text()
                && let Some(tree) = members.iter().find(|tree| message.is_of(tree))
            {
                let texts: &mut Vec<String> = failures.entry(tree).or_default();
                texts.push(text);
            }
        }
        if !status.success() && failures.is_empty() {
            return Err(Failure::new(install::tail(&printed, 30)));
        }
        let told = |(tree, texts): (&String, Vec<String>)| {
            let first = texts.iter().take(5).map(String::as_str);
            let first: Vec<&str> = first.collect();
            format!("{tree}: {} of rustc\n{}", texts.len(), first.join("\n"))
        };
        Ok(failures.into_iter().map(told).collect())
    }
}

/// A line of cargo's output.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    message: Option<Diagnostic>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
}

impl Message {
    fn text(&self) -> Option<String> {
        let diagnostic = self.message.as_ref()?;
        (self.reason == "compiler-message")
            .then(|| diagnostic.rendered.clone())
            .flatten()
    }

    fn is_of(&self, tree: &str) -> bool {
        let target = self.target.as_ref();
        target.is_some_and(|target| target.name == package(tree).replace('-', "_"))
    }
}
