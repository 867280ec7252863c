//! Generates code for whole trees of `.proto` files from public packages, and checks it with rustc.
//!
//! The test fetches packages and takes minutes, so it runs only with `NMFW_TEST=trees`.

#![cfg(test)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nmfw_tests::failure::{Doing as _, Failure};
use nmfw_tests::{chosen, install, proto_text};
use serde::Deserialize;

mod fetch;
mod scratch;
mod table;

use scratch::Scratch;
use table::{TREES, Tree};

/// The minimum size of all trees together.
const FILES: usize = 1_500;
const SERVICES: usize = 300;

/// Time limit of the build; generous, because other work can slow it down several times.
const LIMIT: Duration = Duration::from_secs(3_600);

/// The output of the program in `tests/proto-trees`.
#[derive(Debug, Deserialize)]
struct Report {
    files: usize,
    messages: usize,
    services: usize,
    methods: usize,
    /// The time that nmfw-build took.
    seconds: f64,
    /// Why nmfw-build failed, or how its code differs from the descriptors.
    nmfw: Vec<String>,
    /// Why tonic-prost-build failed, or how its code differs from the descriptors.
    tonic: Vec<String>,
}

#[test]
fn code_for_public_trees_compiles() {
    if !chosen("trees") {
        say(
            "NOT RUN: code for the .proto files of public packages, which NMFW_TEST=trees runs in minutes",
        );
        return;
    }
    let protoc = fetch::protoc().unwrap();
    let packages = fetch::Packages::fetch(TREES).unwrap();
    let mut scratch = Scratch::new();
    let program = scratch.build_program().unwrap();

    say(&format!(
        "{:<20} {:>6} {:>9} {:>9} {:>8} {:>8}  tonic",
        "tree", "files", "messages", "services", "methods", "seconds"
    ));
    let mut failures = Vec::new();
    let (mut files, mut services) = (0, 0);
    for tree in TREES {
        let report = generate(tree, &packages, &protoc, &program, &scratch).unwrap();
        say(&row(tree.name, &report));
        if report.nmfw.is_empty() {
            scratch.add(tree.name).unwrap();
        }
        let told = report.nmfw.iter().take(20);
        failures.extend(told.map(|failure| format!("{}: {failure}", tree.name)));
        files += report.files;
        services += report.services;
    }

    let start = Instant::now();
    failures.extend(scratch.check(LIMIT).unwrap());
    say(&format!(
        "{files} files, {services} services; cargo check took {:.0} s",
        start.elapsed().as_secs_f64()
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(files >= FILES, "only {files} files");
    assert!(services >= SERVICES, "only {services} services");
}

#[test]
fn texts_of_public_trees_compile_again() {
    if !chosen("trees") {
        return;
    }
    let protoc = fetch::protoc().unwrap();
    let packages = fetch::Packages::fetch(TREES).unwrap();
    let scratch = Scratch::new();
    say(&format!(
        "{:<20} {:>6} {:>10} {:>11}  .proto text",
        "tree", "files", "reading ms", "printing ms"
    ));
    let mut failures = Vec::new();
    let mut number = 0;
    for tree in TREES {
        let folder = scratch.folder(tree.name);
        std::fs::create_dir_all(&folder).unwrap();
        let files = tree.files(packages.folder(tree.package).unwrap()).unwrap();
        let compiled: Vec<_> = files.compiled.iter().collect();
        let set = folder.join("text.fds");
        protoc
            .compile(&files.includes, &compiled, Some(&set))
            .unwrap();
        let compile = |folder: &Path, files: &[PathBuf], set: &Path| {
            let files: Vec<&PathBuf> = files.iter().collect();
            protoc.compile(&[folder.to_owned()], &files, Some(set))
        };
        match proto_text::round_trip(&set, &folder.join("text"), compile) {
            Ok(printed) => {
                say(&format!(
                    "{:<20} {:>6} {:>10} {:>11}  {} different",
                    tree.name,
                    printed.files,
                    printed.reading.as_millis(),
                    printed.printing.as_millis(),
                    printed.differences.len()
                ));
                number += printed.files;
                let few = printed.differences.iter().take(5);
                failures.extend(few.map(|it| format!("{}: {it}", tree.name)));
            }
            Err(failure) => failures.push(format!("{}: {failure}", tree.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(number >= FILES, "only {number} files");
}

/// Generates the code of a tree, and tonic's code for comparison.
fn generate(
    tree: &Tree,
    packages: &fetch::Packages,
    protoc: &fetch::Protoc,
    program: &Path,
    scratch: &Scratch,
) -> Result<Report, Failure> {
    let files = tree.files(packages.folder(tree.package)?)?;
    for left_out in &files.left_out {
        // All files that protoc accepts have to be included.
        assert!(
            protoc.compile(&files.includes, &[left_out], None).is_err(),
            "{}: protoc accepts {}",
            tree.name,
            left_out.display()
        );
    }
    let folder = scratch.folder(tree.name);
    std::fs::create_dir_all(&folder).doing(format_args!("create {}", folder.display()))?;
    let compiled: Vec<_> = files.compiled.iter().collect();
    let set = folder.join("protoc.fds");
    protoc.compile(&files.includes, &compiled, Some(&set))?;

    let mut command = Command::new(program);
    command.arg(&folder);
    command.args(
        files
            .includes
            .iter()
            .map(|it| format!("-I{}", it.display())),
    );
    command.args(compiled);
    install::run(&mut command, LIMIT)?;
    scratch::read_json(&folder.join("report.json"))
}

fn row(name: &str, report: &Report) -> String {
    let tonic = match report.tonic.as_slice() {
        [] => "the same",
        [first, ..] => first.lines().next().unwrap_or_default(),
    };
    let nmfw = match report.nmfw.as_slice() {
        [] => "",
        _ => "; nmfw FAILS",
    };
    format!(
        "{name:<20} {:>6} {:>9} {:>9} {:>8} {:>8.1}  {tonic}{nmfw}",
        report.files, report.messages, report.services, report.methods, report.seconds
    )
}

/// Writes a line that the test runner does not capture.
fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "proto_trees: {line}");
}
