//! Tests of the files with NATS permissions. The workspace's integration tests check them with
//! nats-server and running services.
//!
//! `NMFW_BLESS=1 cargo test -p nmfw-build --test permissions` rewrites the recorded files.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nmfw_build::{Error, PermissionFiles, configure};

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn generate(
    proto: &str,
    files: impl FnOnce(PathBuf) -> PermissionFiles,
) -> Result<BTreeMap<String, String>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let permissions = dir.path().join("deploy/permissions");
    let include = tests_dir().join("proto");
    configure()
        .service_version("0.1.0")
        .out_dir(dir.path().join("code"))
        .permissions(files(permissions.clone()))
        .compile_protos(&[include.join(proto)], &[include])?;
    let read = fs::read_dir(permissions).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    Ok(read.collect())
}

fn names(files: &BTreeMap<String, String>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

#[test]
fn files_are_as_recorded() {
    let files = generate("calc.proto", |dir| {
        PermissionFiles::new(dir)
            .client("reporting", ["calc.Calc.Add", "calc.Calc.Average"])
            .exported_by("SERVICES")
    });
    let files = files.unwrap();
    let golden = tests_dir().join("golden/permissions");
    if std::env::var_os("NMFW_BLESS").is_some() {
        fs::create_dir_all(&golden).unwrap();
        for (name, text) in &files {
            fs::write(golden.join(name), text).unwrap();
        }
    }
    let mut recorded: Vec<_> = fs::read_dir(&golden)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    recorded.sort_unstable();
    assert_eq!(names(&files), recorded);
    for (name, text) in &files {
        let recorded = fs::read_to_string(golden.join(name)).unwrap();
        assert_eq!(
            *text, recorded,
            "{name}: if the change is intended, run with NMFW_BLESS=1 and review the difference"
        );
    }
}

#[test]
fn a_folder_is_enough() {
    let files = generate("calc.proto", PermissionFiles::from).unwrap();
    let expected = [
        "calc.client.conf",
        "calc.client.nsc.sh",
        "calc.observer.conf",
        "calc.observer.nsc.sh",
        "calc.service.conf",
        "calc.service.nsc.sh",
    ];
    assert_eq!(names(&files), expected);
    // There are no callers in other accounts.
    assert!(files.values().all(|text| !text.contains("_R_")));
}

#[test]
fn options_of_the_proto_count() {
    let files = generate("configured.proto", PermissionFiles::from).unwrap();
    let all: String = files.into_values().collect();
    let proto = fs::read_to_string(tests_dir().join("proto/configured.proto")).unwrap();
    for option in ["subject", "name", "queue_group"] {
        let value = proto
            .split(&format!(" {option}: \""))
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let value = value.unwrap_or_else(|| panic!("the .proto sets no {option}"));
        assert!(all.contains(value), "{option} {value}: {all}");
    }
}

#[test]
fn exports_for_one_account() {
    let files = generate("calc.proto", |dir| {
        let files = PermissionFiles::new(dir).exported_by("SERVICES");
        files.only_for("CALLERS")
    });
    let files = files.unwrap();
    assert!(files["calc.exports.conf"].contains("accounts: [\"CALLERS\"]"));
    assert!(files["calc.exports.nsc.sh"].contains(" --private"));
    assert!(files["calc.imports.nsc.sh"].contains("nsc generate activation"));
}

/// Permissions without subjects are an explicit deny, because an empty list would allow everything.
#[test]
fn empty_permissions_deny_everything() {
    let files = generate("empty.proto", PermissionFiles::from).unwrap();
    let client = |kind: &str| {
        let mut files = files.iter();
        let file = files.find(|(name, _)| name.ends_with(&format!(".client.{kind}")));
        file.unwrap().1.clone()
    };
    assert!(client("conf").contains("publish: { deny: [\">\"] }"));
    assert!(client("nsc.sh").contains("--deny-pub '>'"));
}

#[test]
fn mistakes_are_errors() {
    let error = |files: fn(PermissionFiles) -> PermissionFiles| {
        let outcome = generate("calc.proto", |dir| files(PermissionFiles::new(dir)));
        outcome.unwrap_err().to_string()
    };
    let unknown = error(|files| files.client("web", ["calc.Calc.Ad"]));
    assert!(
        unknown.contains("\"Ad\"") && unknown.contains("Average, Add, Expression"),
        "{unknown}"
    );
    let unknown = error(|files| files.client("web", ["Add"]));
    assert!(
        unknown.contains("\"Add\"") && unknown.contains("calc.Calc"),
        "{unknown}"
    );
    let none = error(|files| files.client("web", [""; 0]));
    assert!(none.contains("no method"), "{none}");
    let path = error(|files| files.client("../web", ["calc.Calc.Add"]));
    assert!(path.contains("../web.conf"), "{path}");
    let twice = error(|files| files.client("calc.client", ["calc.Calc.Add"]));
    assert!(twice.contains("calc.client.conf"), "{twice}");
}
