//! Compares `nmfw-build` with the real protoc: both accept the same files, with the same code as result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nmfw_build::{Builder, configure};
use nmfw_tests::foreign::{Protoc, or_not_run, protoc};
use nmfw_tests::{Failure, install};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Returns the builds of `nmfw-build`'s own tests, one per folder.
fn cases() -> Result<Vec<PathBuf>, Failure> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nmfw-build/tests/accepted");
    let entries = fs::read_dir(dir).map_err(|error| Failure::new(error.to_string()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn protos(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Runs protoc to write a descriptor set of all files in a folder and their imports.
fn set(protoc: &Protoc, dir: &Path, out: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(&protoc.program);
    command
        .args(arguments)
        .arg("--include_imports")
        .arg(format!("--proto_path={}", dir.display()))
        .arg(format!("--descriptor_set_out={}", out.display()))
        .args(protos(dir));
    install::run(&mut command, Duration::from_secs(60)).map(drop)
}

/// Creates a builder that does not use protoc, even if it is installed.
fn builder(out: &Path) -> Builder {
    configure()
        .service_version("0.1.0")
        .protoc(out.join("no-protoc"))
        // Sets of protoc have other bytes than sets made from source.
        .embed_schema(false)
        .out_dir(out)
}

fn code(dir: &Path) -> BTreeMap<PathBuf, String> {
    let files = protos(dir).into_iter();
    let code = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    code.map(|path| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (path.file_name().unwrap_or_default().into(), text)
    })
    .collect()
}

#[test]
fn sets_of_protoc_and_source_give_the_same_code() -> Outcome {
    let Some(protoc) = or_not_run("sets_of_protoc_give_the_code_that_source_gives", protoc())
    else {
        return Ok(());
    };
    let cases = cases()?;
    assert!(cases.len() >= 12, "{cases:?}");
    for case in cases {
        let dir = tempfile::tempdir()?;
        let [direct, ours, plain] = ["direct", "ours", "plain"].map(|name| dir.path().join(name));
        builder(&direct)
            .compile_protos(&protos(&case), &[&case])
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.display()));
        let bytes = dir.path().join("set.bin");
        set(&protoc, &case, &bytes, &["--include_source_info"])?;
        builder(&ours)
            .compile_fds_file(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.display()));
        assert_eq!(code(&direct), code(&ours), "{}", case.display());
        // Without comments, and with options that only protoc uses.
        set(&protoc, &case, &bytes, &["--retain_options"])?;
        builder(&plain)
            .compile_fds_file(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.display()));
        let names = |code: BTreeMap<PathBuf, String>| code.into_keys().collect::<Vec<_>>();
        assert_eq!(
            names(code(&direct)),
            names(code(&plain)),
            "{}",
            case.display()
        );
    }
    Ok(())
}

#[test]
fn the_files_of_a_newer_protoc_break_nothing() -> Outcome {
    let Some(protoc) = or_not_run("the_files_of_a_newer_protoc_break_nothing", protoc()) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let source = r#"syntax = "proto3";
        package user;
        import "google/protobuf/compiler/plugin.proto";
        import "google/protobuf/descriptor.proto";
        import "google/protobuf/go_features.proto";
        import "google/protobuf/timestamp.proto";
        import "nmfw/options.proto";
        extend google.protobuf.FieldOptions { string note = 50000; }
        message Q {
          google.protobuf.Timestamp at = 1 [(note) = "here"];
          google.protobuf.compiler.Version version = 2;
          google.protobuf.FieldOptions.CType kind = 3;
        }
        service Ask {
          option (nmfw.service).version = "2.0.0";
          rpc It(Q) returns (Q) { option (nmfw.method) = { timeout: { seconds: 3 } }; }
        }"#;
    let proto = dir.path().join("user.proto");
    fs::write(&proto, source)?;
    let out = dir.path().join("out");
    builder(&out).compile_protos(&[&proto], &[dir.path(), &protoc.include])?;
    let user = fs::read_to_string(out.join("user.rs"))?;
    for part in [
        ".with_version(\"2.0.0\")",
        "::nmfw::codegen::v1::prost_types::Timestamp",
        "::nmfw::codegen::v1::prost_types::compiler::Version",
    ] {
        assert!(user.contains(part), "no {part} in {user}");
    }
    // All of them at once, as in a tree that contains copies.
    let all: Vec<PathBuf> = protos(&protoc.include.join("google/protobuf"));
    let all = all.into_iter().filter(|path| path.is_file());
    let out = dir.path().join("all");
    builder(&out).compile_protos(&all.collect::<Vec<_>>(), &[&protoc.include])?;
    Ok(())
}

#[test]
fn protoc_compiles_files_that_cannot_be_parsed() -> Outcome {
    let Some(protoc) = or_not_run("protoc_is_asked_for_what_cannot_be_parsed", protoc()) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    // The tree contains this file, which is not built in.
    let source = "syntax = \"proto3\"; package user;\nimport \"google/protobuf/json_options.proto\";\nimport \"nmfw/options.proto\";\n// A question.\nmessage Q {}\nservice Ask { option (nmfw.service).version = \"2.0.0\"; rpc It(Q) returns (Q); }";
    fs::write(dir.path().join("user.proto"), source)?;
    let out = dir.path().join("out");
    let compile = |builder: Builder| builder.compile_protos(&["user.proto"], &[dir.path()]);
    let refused = compile(builder(&out))
        .err()
        .map(|error| format!("{error:?}"));
    let refused = refused.ok_or("the file is built in now: choose another one for this test")?;
    assert!(
        refused.contains("there is no file `google/protobuf/json_options.proto`"),
        "{refused}"
    );
    compile(configure().out_dir(&out).protoc(&protoc.program))?;
    let user = fs::read_to_string(out.join("user.rs"))?;
    for part in ["/// A question.", ".with_version(\"2.0.0\")"] {
        assert!(user.contains(part), "no {part} in {user}");
    }
    Ok(())
}
