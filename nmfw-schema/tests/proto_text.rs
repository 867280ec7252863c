//! `.proto` text: golden files, and texts that compile to the same descriptors.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nmfw_schema::prost_reflect::{DynamicMessage, FileDescriptor, ReflectMessage};
use nmfw_schema::{Schema, proto_text};

/// Returns the text form of the files of a schema, without source positions, by name. Options are
/// decoded as `types` defines them.
fn descriptors(schema: &Schema, types: &Schema) -> BTreeMap<String, String> {
    let desc = types
        .message("google.protobuf.FileDescriptorProto")
        .unwrap_or_else(|| prost_types::FileDescriptorProto::default().descriptor());
    let describe = |file: FileDescriptor| {
        let encoded = file.encode_to_vec();
        let mut message = DynamicMessage::decode(desc.clone(), encoded.as_slice()).unwrap();
        message.clear_field_by_name("source_code_info");
        let text = format!("{message:#}");
        // Options that protoc has removed, because they matter only in the source.
        let lines = text.lines().filter(|line| line.trim() != "options {}");
        (file.name().to_owned(), lines.collect::<Vec<_>>().join("\n"))
    };
    schema.pool().files().map(describe).collect()
}

/// Compiles the texts of all files of a schema, and checks that the result is the same.
fn check_round_trip(schema: &Schema) -> Schema {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for file in schema.pool().files() {
        let text = proto_text::file(schema, file.name()).unwrap();
        let path = folder.path().join(file.name());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        names.push(file.name().to_owned());
    }
    let again = Schema::compile(&names, [folder.path()]).unwrap_or_else(|error| {
        let texts = names
            .iter()
            .map(|name| proto_text::file(schema, name).unwrap());
        panic!("{error}\n{}", texts.collect::<Vec<_>>().join("\n"))
    });
    let after = descriptors(&again, schema);
    for (name, before) in descriptors(schema, schema) {
        let differences: Vec<_> = before
            .lines()
            .zip(after[&name].lines())
            .filter(|(before, after)| before != after)
            .take(3)
            .collect();
        let text = proto_text::file(schema, &name).unwrap();
        assert!(before == after[&name], "{differences:#?}\n{text}");
    }
    again
}

fn golden(path: &str, text: &str) {
    let path = Path::new("tests/proto_text").join(path);
    if std::env::var_os("NMFW_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}: NMFW_BLESS=1 writes it", path.display());
}

#[test]
fn files_have_their_golden_text() {
    for name in ["everything", "modern", "shadowed"] {
        let file = format!("{name}.proto");
        let schema = Schema::compile([&file], ["tests/proto_text"]).unwrap();
        let text = proto_text::file(&schema, &file).unwrap();
        golden(&format!("{name}.file"), &text);
        let again = check_round_trip(&schema);
        // A text keeps its comments and its order.
        assert_eq!(proto_text::file(&again, &file).unwrap(), text);
    }
}

#[test]
fn elements_come_with_what_they_need() {
    let schema = Schema::compile(["modern.proto"], ["tests/proto_text"]).unwrap();
    for (element, file) in [
        ("text.modern.Orders", "orders.element"),
        ("text.modern.Orders/Cancel", "cancel.element"),
        ("text.modern.Order.State", "state.element"),
        ("text.modern.Unrelated", "unrelated.element"),
    ] {
        let text = proto_text::element(&schema, element).unwrap();
        golden(file, &text);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.proto"), text).unwrap();
        Schema::compile(["a.proto"], [folder.path()]).unwrap();
    }
    for missing in [
        "",
        ".",
        "text",
        "text.modern",
        "text.modern.Order.id",
        "text.modern.Orders/X",
    ] {
        assert_eq!(proto_text::element(&schema, missing), None, "{missing}");
    }
}

#[test]
fn elements_of_several_files_have_several_parts() {
    let schema = Schema::compile(["files.proto"], ["../proto"]).unwrap();
    golden(
        "files.element",
        &proto_text::element(&schema, "files.Files").unwrap(),
    );
}

#[test]
fn the_protos_of_this_repository_survive() {
    for name in ["calc.proto", "files.proto", "puppet.proto", "streams.proto"] {
        check_round_trip(&Schema::compile([name], ["../proto"]).unwrap());
    }
}

#[test]
fn the_well_known_files_survive() {
    let names = [
        "any",
        "api",
        "compiler/plugin",
        "descriptor",
        "duration",
        "empty",
        "field_mask",
        "source_context",
        "struct",
        "timestamp",
        "type",
        "wrappers",
    ];
    let files = names.map(|name| format!("google/protobuf/{name}.proto"));
    let folder = tempfile::tempdir().unwrap();
    check_round_trip(&Schema::compile(files, [folder.path()]).unwrap());
}
