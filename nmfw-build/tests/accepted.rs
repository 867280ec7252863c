//! Files that protoc accepts compile: from source without protoc, and from descriptor sets.
//!
//! Each folder of `tests/accepted` is one build. `nmfw-tests` gives the same files to protoc.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nmfw_build::{Builder, configure};
use prost::Message;
use prost_types::field_descriptor_proto::Label;
use prost_types::{FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted");
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Returns the files of a case, in an order in which imports come first.
fn protos(case: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(case).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.reverse();
    files
}

/// Returns a builder that does not use protoc, even if it is installed.
fn builder(out: &Path) -> Builder {
    configure()
        .service_version("0.1.0")
        .protoc(out.join("no-protoc"))
        // Sets of protoc have other bytes than sets made from source.
        .embed_schema(false)
        .out_dir(out)
}

fn read(dir: &Path) -> BTreeMap<PathBuf, String> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            (
                path.file_name().unwrap().into(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

/// Generates the code of a case, and the descriptor set.
fn generate(case: &str) -> (BTreeMap<PathBuf, String>, Vec<FileDescriptorProto>) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/accepted")
        .join(case);
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("set.bin");
    builder(dir.path())
        .file_descriptor_set_path(&set)
        .compile_protos(&protos(&case), &[&case])
        .unwrap();
    let set = FileDescriptorSet::decode(fs::read(set).unwrap().as_slice()).unwrap();
    (read(dir.path()), set.file)
}

fn file<'a>(files: &'a [FileDescriptorProto], name: &str) -> &'a FileDescriptorProto {
    files.iter().find(|file| file.name() == name).unwrap()
}

fn assert_lines(code: &str, expected: &[&str]) {
    // Without line breaks, which depend on the formatter.
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in expected {
        assert!(code.contains(line), "no {line} in {code}");
    }
}

#[test]
fn every_case_compiles_from_source_and_from_its_set() {
    let cases = cases();
    assert!(cases.len() >= 12, "{cases:?}");
    for case in cases {
        let dir = tempfile::tempdir().unwrap();
        let direct = dir.path().join("direct");
        let again = dir.path().join("again");
        let set = dir.path().join("set.bin");
        builder(&direct)
            .file_descriptor_set_path(&set)
            .compile_protos(&protos(&case), &[&case])
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.display()));
        builder(&again)
            .file_descriptor_set_path(dir.path().join("copy.bin"))
            .compile_fds_file(&set)
            .unwrap_or_else(|error| panic!("set of {}: {error:?}", case.display()));
        let code = read(&direct);
        assert!(!code.is_empty(), "{}", case.display());
        assert_eq!(code, read(&again), "{}", case.display());
        let copy = fs::read(dir.path().join("copy.bin")).unwrap();
        assert_eq!(copy, fs::read(set).unwrap(), "{}", case.display());
    }
}

#[test]
fn names_are_looked_up_in_imported_files() {
    let (code, files) = generate("relative_names");
    let user = file(&files, "user.proto");
    let types: Vec<&str> = user.message_type[0]
        .field
        .iter()
        .map(FieldDescriptorProto::type_name)
        .collect();
    assert_eq!(
        types,
        [".near.Thing", ".outer.Box.ThingsEntry", ".near.Kind"]
    );
    assert_eq!(user.service[0].method[0].input_type(), ".near.Thing");
    assert_lines(&code[Path::new("outer.rs")], &["super::near::Thing"]);

    // Files that are visible through public imports are not imports of the file itself.
    let (_, files) = generate("public_import_chain");
    assert_eq!(file(&files, "case.proto").dependency, ["c.proto"]);
    assert_eq!(
        file(&files, "case.proto").service[0].method[0].input_type(),
        ".chain.Leaf"
    );
}

#[test]
fn editions_keep_their_meaning() {
    let (code, files) = generate("editions");
    let ask = &code[Path::new("ed.rs")];
    assert_lines(
        ask,
        &[
            "/// A question.",
            "/// The text. #[prost(string, optional, tag = \"1\")]",
            "#[prost(int32, optional, tag = \"2\", default = \"5\")]",
            "#[prost(int32, repeated, tag = \"3\")]",
            "#[prost(int32, repeated, packed = \"false\", tag = \"4\")]",
            "#[prost(group, optional, tag = \"5\")] pub part: ::core::option::Option<q::Part>",
            "#[prost(int32, required, tag = \"1\")]",
            "#[prost(group, repeated, tag = \"6\")]",
            "#[prost(int32, tag = \"7\")] Number(i32)",
            "#[prost(message, tag = \"8\")] Other(",
            "#[prost(map = \"string, message\", tag = \"9\")]",
            "#[prost(message, optional, tag = \"10\")]",
            "#[prost(enumeration = \"Level\", optional, tag = \"12\")]",
        ],
    );
    assert_lines(
        &code[Path::new("implicit.rs")],
        &[
            "#[prost(string, tag = \"1\")]",
            "#[prost(bytes = \"vec\", optional, tag = \"2\")]",
            "#[prost(sint64, repeated, packed = \"false\", tag = \"3\")]",
            "#[prost(bool, repeated, tag = \"4\")]",
            "#[prost(group, optional, boxed, tag = \"5\")]",
            "#[prost(message, optional, boxed, tag = \"6\")]",
            "#[prost(map = \"int32, message\", tag = \"7\")]",
        ],
    );
    assert_lines(
        &code[Path::new("legacy.rs")],
        &[
            "#[prost(int32, required, tag = \"1\")]",
            "packed = \"false\"",
        ],
    );
    // The set contains the file as written, not as adapted.
    let case = file(&files, "case.proto");
    assert_eq!(case.syntax(), "editions");
    let q = &case.message_type[0];
    assert!(
        q.field
            .iter()
            .all(|field| field.label() != Label::Required && !field.proto3_optional())
    );
    assert_eq!(q.reserved_name, ["gone", "away"]);
    // Columns refer to the source, which has no label.
    let info = case.source_code_info.as_ref().unwrap();
    let name = info
        .location
        .iter()
        .find(|location| location.path == [4, 0, 2, 0, 1])
        .unwrap();
    assert_eq!(name.span, [11, 9, 13], "{name:?}");
}

#[test]
fn infinite_and_nan_options_are_read() {
    let (_, files) = generate("float_options");
    let q = &file(&files, "case.proto").message_type[1];
    assert_eq!(q.field[1].default_value(), "-inf");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted/float_options");
    let out = tempfile::tempdir().unwrap();
    let set = out.path().join("set.bin");
    builder(out.path())
        .file_descriptor_set_path(&set)
        .compile_protos(&["case.proto"], &[dir])
        .unwrap();
    let pool = prost_reflect::DescriptorPool::decode(fs::read(set).unwrap().as_slice()).unwrap();
    let message = pool.get_message_by_name("floats.Q").unwrap();
    let value = |field: &str, extension: &str| {
        let options = message.get_field_by_name(field).unwrap().options();
        let extension = pool.get_extension_by_name(extension).unwrap();
        options.get_extension(&extension).into_owned()
    };
    assert_eq!(value("a", "floats.low").as_f32(), Some(f32::NEG_INFINITY));
    assert_eq!(value("c", "floats.low").as_f32(), Some(f32::INFINITY));
    assert_eq!(value("c", "floats.high").as_f64(), Some(f64::NEG_INFINITY));
    // Here it is the value of an enum.
    assert_eq!(value("c", "floats.size").as_enum_number(), Some(0));
    assert!(value("d", "floats.low").as_f32().unwrap().is_nan());
    assert!(value("d", "floats.high").as_f64().unwrap().is_nan());
    for field in ["e", "f"] {
        let range = value(field, "floats.range");
        let range = range.as_message().unwrap();
        let part = |name: &str| range.get_field_by_name(name).unwrap().into_owned();
        assert_eq!(part("low").as_f32(), Some(f32::NEG_INFINITY), "{field}");
        assert_eq!(part("high").as_f64(), Some(f64::INFINITY), "{field}");
    }
}

#[test]
fn json_names_do_not_change() {
    let (code, files) = generate("json_names");
    let names = |name: &str| {
        let message = &file(&files, name).message_type[0];
        let names = message
            .field
            .iter()
            .map(|field| field.json_name().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("case.proto"), ["ab", "aB"]);
    assert_eq!(names("legacy.proto"), ["a1", "a1"]);
    assert_eq!(file(&files, "case.proto").syntax(), "proto3");
    // Proto3, in which a number has no presence.
    assert_lines(
        &code[Path::new("json.rs")],
        &["#[prost(int32, tag = \"1\")] pub ab: i32"],
    );
}

#[test]
fn unavailable_google_types_are_refused_where_they_are_used() {
    let google = "syntax = \"proto3\"; package google.protobuf.vendor; message Hint {} enum Kind { NONE = 0; }";
    let compile = |source: &str, builder: Builder| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("google.proto"), google).unwrap();
        let proto = dir.path().join("a.proto");
        let source = format!(
            "syntax = \"proto3\"; package a; import \"google.proto\"; import \"google/protobuf/descriptor.proto\";\n{source}"
        );
        fs::write(&proto, source).unwrap();
        builder
            .out_dir(dir.path().join("out"))
            .compile_protos(&[proto], &[dir.path()])
    };
    for (source, name, place) in [
        (
            "message A { google.protobuf.vendor.Hint hint = 1; }",
            "google.protobuf.vendor.Hint",
            "--> a.proto:2:13\n",
        ),
        (
            "message A { repeated google.protobuf.vendor.Kind kind = 1; }",
            "google.protobuf.vendor.Kind",
            "--> a.proto:2:13\n",
        ),
        (
            "message A { map<int32, google.protobuf.vendor.Hint> hints = 1; }",
            "google.protobuf.vendor.Hint",
            "--> a.proto:2:13\n",
        ),
        (
            "message A { google.protobuf.FeatureSet features = 1; }",
            "google.protobuf.FeatureSet",
            "--> a.proto:2:13\n",
        ),
        (
            "service S { rpc Get(google.protobuf.FileDescriptorProto) returns (google.protobuf.vendor.Hint); }",
            "google.protobuf.vendor.Hint",
            "in service `a.S`, method `Get`\n",
        ),
    ] {
        let report = format!("{:?}", compile(source, configure()).unwrap_err());
        let expected = format!("there is no Rust type for `{name}`: ");
        for part in [expected.as_str(), place, "= help: set the Rust type"] {
            assert!(report.contains(part), "no {part:?} in\n{report}");
        }
        assert!(report.starts_with("1 problem"), "{report}");
        let elsewhere = configure().extern_path(format!(".{name}"), "crate::elsewhere::Type");
        compile(source, elsewhere).unwrap();
    }
}

#[test]
fn a_copy_of_a_google_file_that_is_too_new_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("google/protobuf")).unwrap();
    for name in ["descriptor", "timestamp"] {
        let newer = "edition = \"2999\"; package google.protobuf; frobnicate { }";
        fs::write(
            dir.path().join(format!("google/protobuf/{name}.proto")),
            newer,
        )
        .unwrap();
    }
    let proto = dir.path().join("a.proto");
    let source = "syntax = \"proto3\"; package a; import \"nmfw/options.proto\"; import \"google/protobuf/timestamp.proto\";
        message Q { google.protobuf.Timestamp at = 1; }
        service Ask { option (nmfw.service).version = \"2.0.0\"; rpc It(Q) returns (Q); }";
    fs::write(&proto, source).unwrap();
    builder(dir.path())
        .compile_protos(&[proto], &[dir.path()])
        .unwrap();
    let code = read(dir.path()).remove(Path::new("a.rs")).unwrap();
    assert_lines(
        &code,
        &[
            ".with_version(\"2.0.0\")",
            "::nmfw::codegen::v1::prost_types::Timestamp",
        ],
    );
}

#[test]
fn features_of_other_languages_need_no_protoc() {
    let dir = tempfile::tempdir().unwrap();
    let proto = dir.path().join("a.proto");
    let source = "edition = \"2023\"; package a;
        import \"google/protobuf/go_features.proto\";
        import \"google/protobuf/java_features.proto\";
        import \"google/protobuf/cpp_features.proto\";
        option features.(pb.go).api_level = API_OPAQUE;
        option features.(pb.java).utf8_validation = VERIFY;
        message Q { string q = 1 [features.(pb.cpp).string_type = VIEW]; }";
    fs::write(&proto, source).unwrap();
    builder(dir.path())
        .compile_protos(&[proto], &[dir.path()])
        .unwrap();
    let code = read(dir.path()).remove(Path::new("a.rs")).unwrap();
    assert_lines(&code, &["#[prost(string, optional, tag = \"1\")]"]);
}
