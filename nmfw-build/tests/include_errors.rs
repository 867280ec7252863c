//! Tests of the reports about missing files and include folders.

#![cfg(test)]

use std::fs;
use std::path::Path;

use nmfw_build::configure;
use tempfile::TempDir;

const CALC: &str = "syntax = \"proto3\"; package acme; message Sum {}";

/// Creates a folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, source) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    dir
}

/// Returns the report for a build of `proto` with these include folders, without the folder's path.
fn report(dir: &Path, proto: &str, includes: &[&str]) -> String {
    let includes: Vec<_> = includes.iter().map(|name| dir.join(name)).collect();
    let error = configure()
        .out_dir(dir.join("out"))
        .compile_protos(&[dir.join(proto)], &includes)
        .unwrap_err();
    assert_eq!(error.to_string(), "the .proto files do not compile");
    let report = format!("{error:?}").replace(&format!("{}/", dir.display()), "");
    report.split_once("\n\n").unwrap().1.to_owned()
}

#[test]
fn a_typo_in_a_file_name_suggests_similar_files() {
    let dir = folder(&[("proto/acme/calc.proto", CALC), ("proto/other.proto", CALC)]);
    assert_eq!(
        report(dir.path(), "proto/acme/calk.proto", &["proto"]),
        "error: there is no file `acme/calk.proto`
  = note: looked for `proto/acme/calk.proto`
  = help: files with similar names: `proto/acme/calc.proto`
"
    );
    // The file is in another folder.
    assert_eq!(
        report(dir.path(), "proto/calc.proto", &["proto"]),
        "error: there is no file `calc.proto`
  = note: looked for `proto/calc.proto`
  = help: files with similar names: `proto/acme/calc.proto`
"
    );
    assert_eq!(
        report(dir.path(), "proto/unlike-anything.proto", &["proto"]),
        "error: there is no file `unlike-anything.proto`
  = note: looked for `proto/unlike-anything.proto`
"
    );
}

#[test]
fn a_typo_in_an_import_suggests_similar_files() {
    let user = "syntax = \"proto3\";\nimport \"acme/cal.proto\";\n";
    let dir = folder(&[
        ("proto/acme/calc.proto", CALC),
        ("proto/user.proto", user),
        ("more/x", ""),
    ]);
    assert_eq!(
        report(dir.path(), "proto/user.proto", &["proto", "more"]),
        "error: there is no file `acme/cal.proto` to import
 --> user.proto:2:1
  |
2 | import \"acme/cal.proto\";
  | ^^^^^^^^^^^^^^^^^^^^^^^^ imported here
  = note: looked for `proto/acme/cal.proto`, `more/acme/cal.proto`
  = help: files with similar names: `proto/acme/calc.proto`
"
    );
}

#[test]
fn a_missing_include_folder_is_named() {
    let dir = folder(&[("proto/calc.proto", CALC), ("file", "")]);
    assert_eq!(
        report(dir.path(), "proto/calc.proto", &["prto"]),
        "error: `proto/calc.proto` is in none of the include folders
  = help: the include folder `prto` does not exist
  = help: add the folder from which its imports start to the include folders, the second argument of `compile_protos`
"
    );
    assert_eq!(
        report(dir.path(), "file/calc.proto", &["file"]),
        "error: there is no file `calc.proto`
  = note: looked for `file/calc.proto`
  = help: the include folder `file` is not a folder
"
    );
    // A missing folder is no error if all files are found without it, as in protoc.
    configure()
        .out_dir(dir.path().join("out"))
        .compile_protos(
            &["calc.proto"],
            &[dir.path().join("prto"), dir.path().join("proto")],
        )
        .unwrap();
}

#[test]
fn a_file_outside_the_includes_is_an_error() {
    let dir = folder(&[("other/x", "")]);
    let error = configure()
        .out_dir(dir.path().join("out"))
        .compile_protos(&["proto/missing.proto"], &[dir.path().join("other")])
        .unwrap_err();
    let report = format!("{error:?}");
    for part in [
        "there is no file `proto/missing.proto`",
        "= note: looked for `proto/missing.proto`, `",
        "other/proto/missing.proto`",
    ] {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
}

#[test]
fn a_file_with_two_names_is_one_clear_error() {
    let user = "syntax = \"proto3\"; import \"calc.proto\"; import \"acme/calc.proto\"; message A { acme.Sum a = 1; }";
    let dir = folder(&[("proto/acme/calc.proto", CALC), ("proto/user.proto", user)]);
    assert_eq!(
        report(dir.path(), "proto/user.proto", &["proto", "proto/acme"]),
        "error: the file `proto/acme/calc.proto` is imported by two names, `calc.proto` and `acme/calc.proto`
  = note: the include folders are `proto`, `proto/acme`
  = help: remove one of the include folders that contain the file, and import it by the same name everywhere
"
    );
}

#[test]
fn a_file_hidden_by_another_of_its_name_is_an_error() {
    let dir = folder(&[("first/calc.proto", CALC), ("second/calc.proto", CALC)]);
    assert_eq!(
        report(dir.path(), "second/calc.proto", &["first", "second"]),
        "error: `second/calc.proto` cannot be compiled: an import of `calc.proto` finds `first/calc.proto` first
  = help: put the include folder of the file before the other one, or rename one of them
"
    );
}

#[test]
fn files_that_import_each_other_are_listed() {
    let file = |import: &str| format!("syntax = \"proto3\";\nimport \"{import}\";\n");
    let dir = folder(&[
        ("a.proto", &file("b.proto")),
        ("b.proto", &file("c.proto")),
        ("c.proto", &file("b.proto")),
        (
            "twice.proto",
            &format!("{}import \"calc.proto\";", file("calc.proto")),
        ),
        ("calc.proto", CALC),
    ]);
    assert_eq!(
        report(dir.path(), "a.proto", &["."]),
        "error: files import each other in a cycle
 --> c.proto:2:1
  |
2 | import \"b.proto\";
  | ^^^^^^^^^^^^^^^^^ imported here
  = note: `b.proto` imports `c.proto` imports `b.proto`
"
    );
    assert!(
        report(dir.path(), "twice.proto", &["."])
            .contains("error: `calc.proto` is imported twice\n --> twice.proto:3:1")
    );
}

#[test]
fn a_path_may_be_written_in_more_than_one_way() {
    let dir = folder(&[("proto/acme/calc.proto", CALC), ("proto/x", "")]);
    let proto = dir.path().join("proto/acme/calc.proto");
    let roundabout = dir.path().join("proto/acme/../../proto/./acme");
    for (file, include) in [
        (proto.clone(), dir.path().join("./proto")),
        (roundabout.join("calc.proto"), dir.path().join("proto")),
        (proto, roundabout.join("..")),
    ] {
        let out = dir.path().join("out");
        configure()
            .out_dir(&out)
            .compile_protos(&[file], &[include])
            .unwrap();
        assert!(out.join("acme.rs").is_file());
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn only_comments_may_be_in_any_encoding() {
    let dir = folder(&[]);
    let proto = dir.path().join("a.proto");
    fs::write(
        &proto,
        b"syntax = \"proto3\"; // caf\xe9\nmessage A {} /* \xff */",
    )
    .unwrap();
    configure()
        .out_dir(dir.path().join("out"))
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap();
    for source in [
        b"syntax = \"proto2\"; message A { optional string a = 1 [default = \"caf\xe9\"]; }"
            .as_slice(),
        b"syntax = \"proto3\"; message Caf\xe9 {}",
    ] {
        fs::write(&proto, source).unwrap();
        assert_eq!(
            report(dir.path(), "a.proto", &["."]),
            "error: `./a.proto` is not in UTF-8\n  = help: save it in UTF-8\n"
        );
    }
}
