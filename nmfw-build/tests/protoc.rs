//! Tests of falling back to protoc, which is a shell script in these tests.

#![cfg(test)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nmfw_build::{Builder, Error, configure};
use tempfile::TempDir;

/// Source that no version of the parser accepts.
const UNKNOWN: &str = "syntax = \"proto3\"; package a; frobnicate {}\n";

/// A folder with a file, and a protoc that returns a set made from another file.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(source: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.path("proto")).unwrap();
        fs::write(place.path("proto/a.proto"), source).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Writes a protoc that records its arguments and writes the set of a valid file.
    fn protoc(&self, name: &str) -> PathBuf {
        let set = self.path("prepared.bin");
        fs::create_dir_all(self.path("prepared")).unwrap();
        let source = "syntax = \"proto3\"; package a; message Q {}\nservice Ask { rpc It(Q) returns (Q); }\n";
        fs::write(self.path("prepared/a.proto"), source).unwrap();
        configure()
            .out_dir(self.path("prepared"))
            .file_descriptor_set_path(&set)
            .compile_protos(&["a.proto"], &[self.path("prepared")])
            .unwrap();
        let body = format!(
            "printf '%s\\n' \"$@\" > '{}'\nfor a; do case $a in --descriptor_set_out=*) cp '{}' \"${{a#*=}}\";; esac; done",
            self.path("arguments").display(),
            set.display(),
        );
        self.script(name, &body)
    }

    fn compile(&self, builder: Builder) -> Result<(), Error> {
        builder
            .out_dir(self.path("out"))
            .compile_protos(&["a.proto"], &[self.path("proto")])
    }

    fn code(&self) -> String {
        fs::read_to_string(self.path("out/a.rs")).unwrap()
    }
}

fn assert_contains(report: &str, expected: &[&str]) {
    for part in expected {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
}

#[test]
fn protoc_compiles_files_that_cannot_be_parsed_here() {
    let place = Place::new(UNKNOWN);
    let protoc = place.protoc("protoc");
    place.compile(configure().protoc(&protoc)).unwrap();
    assert_contains(&place.code(), &["pub struct AskClient"]);
    let arguments = fs::read_to_string(place.path("arguments")).unwrap();
    let file = place.path("proto/a.proto");
    assert_contains(
        &arguments,
        &[
            "--include_imports\n--include_source_info\n--descriptor_set_out=",
            &format!("--proto_path={}\n", place.path("proto").display()),
            &format!("\n{}\n", file.display()),
        ],
    );
}

#[test]
fn protoc_is_not_started_for_files_that_can_be_parsed_here() {
    let place = Place::new("syntax = \"proto3\"; package a; message Q {}");
    let protoc = place.protoc("protoc");
    place.compile(configure().protoc(protoc)).unwrap();
    assert!(!place.path("arguments").exists());
}

#[test]
fn the_error_is_that_of_the_parser() {
    let place = Place::new(UNKNOWN);
    let refuses = place.script("refuses", "echo 'a.proto:1:31: no, too' >&2; exit 1");
    let report = format!(
        "{:?}",
        place.compile(configure().protoc(&refuses)).unwrap_err()
    );
    assert_contains(&report, &["but found 'frobnicate'", "--> a.proto:1:31"]);
    // Output of protoc about an error that was already reported is noise.
    assert!(!report.contains("no, too"), "{report}");

    let missing = place.path("missing");
    let report = format!(
        "{:?}",
        place.compile(configure().protoc(&missing)).unwrap_err()
    );
    let expected = format!(
        "= note: cannot run `{}`, which is set as protoc: ",
        missing.display()
    );
    assert_contains(&report, &["but found 'frobnicate'", &expected]);

    let writes_nothing = place.script("nothing", "exit 0");
    let report = format!(
        "{:?}",
        place
            .compile(configure().protoc(writes_nothing))
            .unwrap_err()
    );
    assert_contains(&report, &["but found 'frobnicate'"]);
}

#[test]
fn protoc_is_suggested_where_it_would_help() {
    let newer = "syntax = \"proto3\"; package a;\nimport \"google/protobuf/newer.proto\";\n";
    let place = Place::new(newer);
    let none = place.path("empty");
    fs::create_dir(&none).unwrap();
    let report = place.in_environment(&[("PATH", &none)], "report");
    assert_contains(
        &report,
        &[
            "there is no file `google/protobuf/newer.proto` to import",
            "--> a.proto:2:1",
            "= help: `protoc` can compile this file: install it, or set its path with \
             `Builder::protoc` \
             or the environment variable `PROTOC`",
        ],
    );
    let refuses = place.script("refuses", "echo 'newer.proto: File not found.' >&2; exit 1");
    let report = format!(
        "{:?}",
        place.compile(configure().protoc(&refuses)).unwrap_err()
    );
    assert_contains(
        &report,
        &[&format!(
            "= note: `{}` also reports an error: newer.proto: File not found.",
            refuses.display()
        )],
    );
    // protoc would not help with an error of the author.
    let place = Place::new("syntax = \"proto3\"; message A { Missing b = 1; }");
    let report = place.in_environment(&[("PATH", &none)], "report");
    assert_contains(&report, &["name 'Missing' is not defined"]);
    assert!(!report.contains("protoc"), "{report}");
}

#[test]
fn protoc_is_found_by_the_environment() {
    let place = Place::new(UNKNOWN);
    let protoc = place.protoc("bin/protoc");
    let system = PathBuf::from(std::env::var_os("PATH").unwrap());
    let folders = std::env::split_paths(&system).collect::<Vec<_>>();
    let path = std::env::join_paths([place.path("bin")].iter().chain(&folders)).unwrap();
    assert_eq!(
        place.in_environment(&[("PATH", Path::new(&path))], "report"),
        "compiled"
    );
    // `PROTOC` takes precedence over `PATH`.
    let other = place.script("other", "exit 1");
    let report = place.in_environment(&[("PATH", Path::new(&path)), ("PROTOC", &other)], "report");
    assert_contains(&report, &["but found 'frobnicate'"]);
    let variables: [(&str, &Path); 2] = [("PATH", &system), ("PROTOC", &protoc)];
    assert_eq!(place.in_environment(&variables, "report"), "compiled");
    // The builder takes precedence over both.
    let variables: [(&str, &Path); 2] = [("PATH", Path::new(&path)), ("PROTOC", &protoc)];
    let report = place.in_environment(&variables, "choose");
    assert_contains(&report, &["but found 'frobnicate'"]);
}

impl Place {
    /// Compiles in a process with these variables, and returns the outcome.
    fn in_environment(&self, variables: &[(&str, &Path)], what: &str) -> String {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["compiles_in_a_process", "--exact", "--nocapture"])
            .env_remove("PROTOC")
            .env("NMFW_TEST_PLACE", self.dir.path())
            .env("NMFW_TEST_WHAT", what);
        for (name, value) in variables {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(self.path("report")).unwrap()
    }
}

/// Not a test by itself: [`Place::in_environment`] runs it, because environment variables are
/// global.
#[test]
fn compiles_in_a_process() {
    let Some(dir) = std::env::var_os("NMFW_TEST_PLACE").map(PathBuf::from) else {
        return;
    };
    let mut builder = configure().out_dir(dir.join("out"));
    if std::env::var("NMFW_TEST_WHAT").unwrap() == "choose" {
        builder = builder.protoc(dir.join("nowhere"));
    }
    let result = builder.compile_protos(&["a.proto"], &[dir.join("proto")]);
    let report = result.map_or_else(|error| format!("{error:?}"), |()| "compiled".to_owned());
    fs::write(dir.join("report"), report).unwrap();
}
