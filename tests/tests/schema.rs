//! `nmfw-schema` against protobuf's own programs.

#![cfg(all(test, unix))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nmfw_tests::failure::Doing as _;
use nmfw_tests::foreign::{Protoc, conformance, or_not_run, protoc};
use nmfw_tests::{Failure, install, proto_text};

/// The number of tests of protobuf 33.2 up to edition 2024, without those of the text format.
const TESTS: usize = 5_567;

/// JSON and binary, required and recommended, for proto2, proto3 and editions. No failure is
/// expected.
#[test]
fn all_conformance_tests_pass() -> Result<(), Failure> {
    let name = "all_conformance_tests_pass";
    let (Some(conformance), Some(protoc)) =
        (or_not_run(name, conformance()), or_not_run(name, protoc()))
    else {
        return Ok(());
    };
    let dir = tempfile::tempdir().doing("create a folder")?;
    let set = dir.path().join("set.bin");
    let include = conformance.include();
    let files = [
        "test_messages_proto2.proto",
        "test_messages_proto3.proto",
        "test_messages_edition2023.proto",
        "test_messages_proto2_editions.proto",
        "test_messages_proto3_editions.proto",
    ];
    let files = files.map(|file| include.join("google/protobuf").join(file));
    compile(&protoc, &include, &files, &set)?;

    let testee = Path::new(env!("CARGO_BIN_EXE_conformance_testee"));
    let printed = conformance.run(testee, &set)?;
    let successes = printed
        .lines()
        .filter_map(|line| line.strip_prefix("CONFORMANCE SUITE PASSED: "))
        .filter_map(|line| line.split_once(" successes")?.0.parse::<usize>().ok())
        .sum::<usize>();
    assert!(successes >= TESTS, "{printed}");
    Ok(())
}

/// Runs protoc to write a set of files and their imports, with comments.
fn compile(protoc: &Protoc, folder: &Path, files: &[PathBuf], set: &Path) -> Result<(), Failure> {
    let mut command = Command::new(&protoc.program);
    command
        .args(["--include_imports", "--include_source_info"])
        .arg("--experimental_editions")
        .arg(format!("-I{}", folder.display()))
        .arg(format!("-I{}", protoc.include.display()))
        .arg(format!("--descriptor_set_out={}", set.display()))
        .args(files);
    install::run(&mut command, Duration::from_secs(60)).map(drop)
}

/// The files that `nmfw-build` accepts, editions and rare syntax included.
#[test]
fn sets_of_protoc_survive_as_text() -> Result<(), Failure> {
    let Some(protoc) = or_not_run("sets_of_protoc_survive_as_text", protoc()) else {
        return Ok(());
    };
    let dir = tempfile::tempdir().doing("create a folder")?;
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nmfw-build/tests/accepted");
    let mut number = 0;
    for case in fs::read_dir(&cases).doing("read the cases")? {
        let case = case.doing("read the cases")?.path();
        let files = fs::read_dir(&case).doing("read a case")?;
        let files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        let set = dir.path().join("set.bin");
        compile(&protoc, &case, &files, &set)?;
        let printed =
            proto_text::round_trip(&set, &dir.path().join("text"), |folder, files, set| {
                compile(&protoc, folder, files, set)
            })
            .doing(format_args!("print {}", case.display()))?;
        assert!(
            printed.differences.is_empty(),
            "{}: {}",
            case.display(),
            printed.differences.join("\n")
        );
        number += 1;
    }
    assert!(number >= 12, "only {number} cases");
    Ok(())
}
