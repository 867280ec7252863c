//! Packages with `.proto` files, and protoc: from the registries, into cargo's folder for tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nmfw_tests::failure::{Doing as _, Failure};
use nmfw_tests::install;
use serde::Deserialize;

use crate::scratch;
use crate::table::{Package, Tree};

/// The PyPI package that contains protoc 35.1 and its well-known files, as a Python module.
const GRPCIO_TOOLS: &str = "1.85.1";

const LIMIT: Duration = Duration::from_secs(600);

/// The folders of the packages.
#[derive(Debug)]
pub(crate) struct Packages(BTreeMap<String, PathBuf>);

/// The output of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<CratePackage>,
}

#[derive(Debug, Deserialize)]
struct CratePackage {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

impl Packages {
    /// Fetches the packages of all trees.
    ///
    /// # Errors
    /// Fails if a registry cannot be reached, or does not have a package.
    pub(crate) fn fetch(trees: &[Tree]) -> Result<Self, Failure> {
        let mut packages = Self(BTreeMap::new());
        let mut dependencies = BTreeMap::new();
        for tree in trees {
            match tree.package {
                Package::Crate { name, version } => {
                    dependencies.insert(name, version);
                }
                Package::Npm { name, version } => {
                    let folder = npm(name, version)?;
                    packages.0.insert(key(tree.package), folder);
                }
            }
        }
        packages.add_crates(&dependencies)?;
        Ok(packages)
    }

    /// Returns the folder of a package.
    ///
    /// # Errors
    /// Fails if the package was not fetched.
    pub(crate) fn folder(&self, package: Package) -> Result<&Path, Failure> {
        let key = key(package);
        let folder = self.0.get(&key);
        folder
            .map(PathBuf::as_path)
            .ok_or_else(|| Failure::new(format!("cargo did not fetch {key}")))
    }

    /// Makes cargo fetch crates as dependencies of a package that is never built.
    fn add_crates(&mut self, dependencies: &BTreeMap<&str, &str>) -> Result<(), Failure> {
        let folder = scratch::root().join("crates");
        let mut manifest = scratch::manifest("crates");
        manifest.push_str("[workspace]\n[dependencies]\n");
        for (name, version) in dependencies {
            let requirement = format!("{{ version = \"={version}\", default-features = false }}");
            _ = writeln!(manifest, "{name} = {requirement}");
        }
        scratch::write(&folder.join("src/lib.rs"), "")?;
        scratch::write(&folder.join("Cargo.toml"), &manifest)?;
        // Two commands, because the output of fetching is not JSON.
        let mut fetch = Command::new(env!("CARGO"));
        fetch.args(["fetch", "--quiet"]).current_dir(&folder);
        install::run(&mut fetch, LIMIT)?;
        let mut list = Command::new(env!("CARGO"));
        list.args(["metadata", "--quiet", "--offline", "--format-version", "1"])
            .current_dir(&folder);
        let printed = install::run(&mut list, LIMIT)?;
        let metadata: Metadata = serde_json::from_str(&printed).doing("read `cargo metadata`")?;
        for package in metadata.packages {
            if let Some(folder) = package.manifest_path.parent() {
                let key = format!("{} {}", package.name, package.version);
                self.0.insert(key, folder.to_owned());
            }
        }
        Ok(())
    }
}

fn key(package: Package) -> String {
    let (Package::Crate { name, version } | Package::Npm { name, version }) = package;
    format!("{name} {version}")
}

fn npm(name: &str, version: &str) -> Result<PathBuf, Failure> {
    let tool = format!("npm-{}-{version}", name.replace('/', "-"));
    let folder = install::once(&tool, |scratch| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund"])
            // The packages only contain files, so no scripts are run.
            .args(["--ignore-scripts", "--prefix"])
            .arg(scratch)
            .arg(format!("{name}@{version}"));
        install::run(&mut npm, LIMIT).map(drop)
    })?;
    Ok(folder.join("node_modules").join(name))
}

/// protoc, as a module of Python.
#[derive(Debug)]
pub(crate) struct Protoc(PathBuf);

/// Installs protoc.
///
/// # Errors
/// Fails if there is no Python with pip, or if PyPI cannot be reached.
pub(crate) fn protoc() -> Result<Protoc, Failure> {
    let folder = install::once(&format!("grpcio-tools-{GRPCIO_TOOLS}"), |scratch| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--no-deps", "--target"])
            .arg(scratch)
            .arg(format!("grpcio-tools=={GRPCIO_TOOLS}"));
        install::run(&mut pip, LIMIT).map(drop)
    })?;
    Ok(Protoc(folder))
}

impl Protoc {
    /// Compiles files, and writes their descriptors, those of all imports and all comments to `set`.
    ///
    /// # Errors
    /// Fails if protoc rejects the files; the text contains the reason.
    pub(crate) fn compile(
        &self,
        includes: &[PathBuf],
        files: &[&PathBuf],
        set: Option<&Path>,
    ) -> Result<(), Failure> {
        let mut protoc = Command::new("python3");
        protoc
            .env("PYTHONPATH", &self.0)
            .args(["-m", "grpc_tools.protoc"])
            .args(["--include_imports", "--include_source_info"])
            .args(includes.iter().map(|it| format!("-I{}", it.display())));
        let discarded = Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" });
        let mut option = std::ffi::OsString::from("--descriptor_set_out=");
        option.push(set.unwrap_or(discarded));
        protoc.arg(option).args(files);
        install::run(&mut protoc, LIMIT).map(drop)
    }
}
