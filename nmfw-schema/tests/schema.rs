//! Descriptor sets: what is accepted, and what hostile ones cannot do.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use nmfw_schema::json::{self, JsonOptions};
use nmfw_schema::prost_reflect::prost::Message;
use nmfw_schema::prost_reflect::{DescriptorPool, DynamicMessage};
use nmfw_schema::{Schema, SchemaError};
use proptest::prelude::*;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, descriptor_proto::ReservedRange,
};

/// The number of panics in this process.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Reads a set, and fails if something panicked, even if the panic was caught.
fn read(set: &[u8]) -> Result<Schema, SchemaError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info
                .location()
                .is_some_and(|at| at.file().contains("prost-reflect"))
            {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            hook(info);
        }));
    });
    let before = PANICS.load(Ordering::SeqCst);
    let read = Schema::from_descriptor_set(set);
    assert_eq!(
        PANICS.load(Ordering::SeqCst),
        before,
        "prost-reflect panicked"
    );
    read
}

/// Encodes a set from the text format.
fn set(text: &str) -> Vec<u8> {
    let pool = DescriptorPool::global();
    let desc = pool
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .unwrap();
    let parsed = DynamicMessage::parse_text_format(desc, text);
    parsed
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .encode_to_vec()
}

fn error(text: &str) -> String {
    match read(&set(text)) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Runs in a thread with a small stack, in which endless recursion ends at once.
fn with_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

#[test]
fn a_schema_is_found_by_names() {
    let schema = Schema::compile(["files.proto"], ["../proto"]).unwrap();
    let names: Vec<String> = schema
        .services()
        .map(|it| it.full_name().to_owned())
        .collect();
    assert_eq!(names, ["files.Files"]);
    for name in ["files.Files/Get", "/files.Files/Get", "files.Files.Get"] {
        assert_eq!(
            schema.method(name).unwrap().output().full_name(),
            "files.GetResponse"
        );
    }
    for name in ["files.Files/None", "files.None/Get", "Get", "", "/", "."] {
        assert!(schema.method(name).is_none(), "{name}");
    }
    for (name, file) in [
        ("files.Files", "files.proto"),
        ("files.Files.Get", "files.proto"),
        ("files.FileInfo", "files.proto"),
        (
            "google.protobuf.Timestamp",
            "google/protobuf/timestamp.proto",
        ),
        ("nmfw.service", "nmfw/options.proto"),
    ] {
        assert_eq!(schema.file_of(name).unwrap().name(), file);
    }
    assert!(schema.file_of("files").is_none());
}

#[test]
fn a_set_is_kept_byte_by_byte() {
    let schema = Schema::compile(["calc.proto"], ["../proto"]).unwrap();
    let again = Schema::from_compressed(schema.compressed()).unwrap();
    assert_eq!(again.descriptor_set(), schema.descriptor_set());
    assert_eq!(again.hash(), Schema::hash_of(schema.descriptor_set()));
    assert!(schema.compressed().len() < schema.descriptor_set().len());
    // A schema that others print does not print its whole pool.
    assert!(format!("{schema:?}").len() < 200);
}

#[test]
fn the_options_of_nmfw_are_those_of_the_generator() {
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        text("proto/nmfw/options.proto"),
        text("../nmfw-build/proto/nmfw/options.proto")
    );
}

#[test]
fn errors_of_compilation_name_the_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.proto");
    std::fs::write(&path, "syntax = \"proto3\";\nmessage A {\n  B b = 1;\n}\n").unwrap();
    let error = Schema::compile(["a.proto"], [folder.path()]).unwrap_err();
    assert_eq!(error.to_string(), "a.proto:3:3: name 'B' is not defined");
    let error = Schema::compile(["none.proto"], [folder.path()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "file 'none.proto' is not in any include path"
    );
}

#[test]
fn faults_are_named() {
    let cases = [
        ("", "the descriptor set has no files"),
        (
            "file {}",
            "the descriptor set is not valid: a file has no name",
        ),
        (
            r#"file { name: "a\x1b[31m" }"#,
            r#"the descriptor set is not valid: a file is named "a\\u{1b}[31m""#,
        ),
        (
            r#"file { name: "a" } file { name: "a" }"#,
            "the descriptor set is not valid: two files are named `a`",
        ),
        (
            r#"file { name: "a" dependency: "b" }"#,
            "the descriptor set is not valid: `a` imports `b`, which is not in the set: create the \
             set with `protoc --include_imports`",
        ),
        (
            r#"file { name: "a" dependency: "a" }"#,
            "the descriptor set is not valid: `a` imports itself, directly or through other files",
        ),
        (
            r#"file { name: "a" dependency: ["b", "b"] } file { name: "b" }"#,
            "the descriptor set is not valid: `a` imports `b` twice",
        ),
        (
            r#"file { name: "a" public_dependency: 0 }"#,
            "the descriptor set is not valid: `a` has an import that does not exist",
        ),
        (
            r#"file { name: "a" syntax: "proto4" }"#,
            "the descriptor set is not valid: `a` has the unknown syntax `proto4`",
        ),
        (
            r#"file { name: "a" syntax: "editions" edition: EDITION_99999_TEST_ONLY }"#,
            "the descriptor set is not valid: `a` has an unsupported edition: the editions 2023, \
             2024, 2026, proto2 and proto3 are supported",
        ),
        (
            r#"file { name: "a" package: "a..b" }"#,
            r#"the descriptor set is not valid: `a` has the package "a..b""#,
        ),
        (
            r#"file { name: "a" package: "p" message_type { name: "A\nB" } }"#,
            r#"the descriptor set is not valid: something in `p` has the name "A\nB""#,
        ),
        (
            r#"file { name: "a" message_type { name: "A" field { name: "f" number: 1 } } }"#,
            "the descriptor set is not valid: `A.f` has no valid type",
        ),
        (
            r#"file { name: "a" message_type { name: "A" field { name: "f" number: 0 type: TYPE_BOOL } } }"#,
            "the descriptor set is not valid: `A.f` has the field number 0",
        ),
        (
            r#"file { name: "a" message_type { name: "A" field { name: "f" number: 1 type: TYPE_BOOL oneof_index: 0 } } }"#,
            "the descriptor set is not valid: `A.f` is in a oneof that does not exist",
        ),
        (
            r#"file { name: "a" message_type { name: "A" field { name: "f" number: 1 type: TYPE_BYTES default_value: "\\xé" } } }"#,
            "the descriptor set is not valid: the default value of `A.f` is not valid",
        ),
        (
            r#"file { name: "a" message_type { name: "A" nested_type { name: "E" options { map_entry: true } } } }"#,
            "the descriptor set is not valid: `A.E` is not a valid map entry",
        ),
        (
            r#"file { name: "a" message_type { name: "A" field { name: "f" number: 1 type: TYPE_MESSAGE type_name: ".B" } } }"#,
            "the descriptor set is not valid: name '.B' is not defined",
        ),
        (
            r#"file { name: "a" message_type { name: "A" } message_type { name: "A" } }"#,
            "the descriptor set is not valid: name 'A' is defined twice",
        ),
        (
            r#"file { name: "a" options { uninterpreted_option { aggregate_value: "{{{{" } } }"#,
            "the descriptor set is not valid: `a` has an option that was not interpreted: create \
             the set with a compiler",
        ),
        (
            r#"file {
                name: "google/protobuf/descriptor.proto" package: "google.protobuf"
                message_type {
                    name: "FieldOptions"
                    field { name: "ctype" number: 1 label: LABEL_REPEATED type: TYPE_INT32 options { packed: true } }
                }
            }"#,
            "the descriptor set is not valid: its `google.protobuf.FieldOptions.ctype` is not the \
             one of protobuf",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
    let error = read(b"no set").unwrap_err().to_string();
    assert!(
        error.starts_with("the bytes are not a descriptor set: "),
        "{error}"
    );
    let error = Schema::from_compressed(b"no zlib").unwrap_err().to_string();
    assert!(
        error.starts_with("the descriptor set cannot be decompressed: "),
        "{error}"
    );
    let error = read(&vec![0; Schema::MAX_BYTES + 1])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("more than the 16777216 that are accepted"),
        "{error}"
    );
}

#[test]
fn compressed_sets_cannot_be_bombs() {
    let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; Schema::MAX_BYTES + 1], 1);
    assert!(Schema::from_compressed(&compressed).is_err());
}

#[test]
fn editions_are_read_like_their_features() {
    let schema = read(&set(r#"
        file {
            name: "a.proto" package: "e" syntax: "editions" edition: EDITION_2023
            options { features { field_presence: IMPLICIT } }
            message_type {
                name: "M"
                field { name: "implicit" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
                field {
                    name: "explicit" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32
                    options { features { field_presence: EXPLICIT } }
                }
                field { name: "packed" number: 3 label: LABEL_REPEATED type: TYPE_INT32 }
                field {
                    name: "expanded" number: 4 label: LABEL_REPEATED type: TYPE_INT32
                    options { features { repeated_field_encoding: EXPANDED } }
                }
                field {
                    name: "delimited" number: 5 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".e.M"
                    options { features { message_encoding: DELIMITED } }
                }
                field {
                    name: "needed" number: 6 label: LABEL_OPTIONAL type: TYPE_BOOL
                    options { features { field_presence: LEGACY_REQUIRED } }
                }
            }
        }"#))
    .unwrap();
    assert_eq!(
        nmfw_schema::proto_text::file(&schema, "a.proto").unwrap(),
        r#"edition = "2023";

package e;

option features.field_presence = IMPLICIT;

message M {
  int32 implicit = 1;
  int32 explicit = 2 [features.field_presence = EXPLICIT];
  repeated int32 packed = 3;
  repeated int32 expanded = 4 [features.repeated_field_encoding = EXPANDED];
  M delimited = 5 [features.message_encoding = DELIMITED];
  bool needed = 6 [features.field_presence = LEGACY_REQUIRED];
}
"#
    );
    let desc = schema.message("e.M").unwrap();
    let field = |name| desc.get_field_by_name(name).unwrap();
    assert!(!field("implicit").supports_presence());
    assert!(field("explicit").supports_presence());
    assert!(field("packed").is_packed() && !field("expanded").is_packed());
    assert!(field("delimited").is_group());
    assert!(field("needed").is_required());
    let document = br#"{"implicit":0,"explicit":0,"packed":[1],"expanded":[2],"delimited":{}}"#;
    let encoded = json::to_message(&desc, document, &JsonOptions::new()).unwrap();
    assert_eq!(encoded, [0x10, 0, 0x1a, 1, 1, 0x20, 2, 0x2b, 0x2c]);
}

#[test]
fn sets_that_prost_reflect_refuses_are_read() {
    // A chain of public imports, JSON names that conflict, and an item of a message set.
    let schema = read(&set(r#"
        file { name: "a" message_type { name: "Leaf" } }
        file { name: "b" dependency: "a" public_dependency: 0 }
        file { name: "c" dependency: "b" public_dependency: 0 }
        file {
            name: "d" dependency: "c"
            message_type {
                name: "Tree"
                field { name: "leaf" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Leaf" }
                field { name: "a1" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
                field { name: "a_1" number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
            }
            message_type {
                name: "Set" extension_range { start: 4 end: 2147483647 }
                options { message_set_wire_format: true }
            }
            extension {
                name: "item" number: 2147483646 label: LABEL_OPTIONAL type: TYPE_MESSAGE
                type_name: ".Leaf" extendee: ".Set"
            }
        }
        file {
            name: "e" syntax: "proto3"
            message_type {
                name: "Similar"
                field { name: "ab" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
                field { name: "a_b" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
            }
        }"#))
    .unwrap();
    for (name, document) in [
        ("Tree", r#"{"leaf":{},"a1":1,"a_1":2}"#),
        ("Similar", r#"{"ab":1,"aB":2}"#),
    ] {
        let desc = schema.message(name).unwrap();
        let options = JsonOptions::new();
        let encoded = json::to_message(&desc, document.as_bytes(), &options).unwrap();
        let again = json::from_message(&desc, encoded.as_slice(), &options).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), document);
    }
}

fn field(name: &str, number: i32, of: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional as i32),
        r#type: Some(of as i32),
        ..FieldDescriptorProto::default()
    }
}

fn message(name: &str) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        ..DescriptorProto::default()
    }
}

fn file(name: &str) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        ..FileDescriptorProto::default()
    }
}

#[test]
fn nested_types_cannot_exhaust_the_stack() {
    with_small_stack(|| {
        let nested = |depth: usize| {
            // Encoded by hand, from the inside out: encoding is recursive, too.
            let mut encoded = message("m").encode_to_vec();
            for _ in 1..depth {
                let mut outer = message("m").encode_to_vec();
                prost::encoding::bytes::encode(3, &encoded, &mut outer);
                encoded = outer;
            }
            let mut file = file("a").encode_to_vec();
            prost::encoding::bytes::encode(4, &encoded, &mut file);
            let mut set = Vec::new();
            prost::encoding::bytes::encode(1, &file, &mut set);
            set
        };
        assert!(read(&nested(90)).is_ok());
        for depth in [101, 1_000, 5_000] {
            assert!(read(&nested(depth)).is_err(), "{depth}");
        }
    });
}

/// Reads a set that is expensive in some way, and checks that it takes little time.
fn read_fast(files: Vec<FileDescriptorProto>) {
    let set = FileDescriptorSet { file: files }.encode_to_vec();
    let start = Instant::now();
    _ = read(&set);
    // Generous: the point is seconds instead of hours.
    let limit = Duration::from_secs(60);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[test]
fn many_public_imports_take_little_time() {
    with_small_stack(|| {
        let mut files = vec![file("0"), file("0b")];
        for level in 1..1_000 {
            for suffix in ["", "b"] {
                let mut each = file(&format!("{level}{suffix}"));
                let below = level - 1;
                each.dependency = vec![below.to_string(), format!("{below}b")];
                each.public_dependency = vec![0, 1];
                files.push(each);
            }
        }
        read_fast(files);
    });
}

#[test]
fn large_types_cannot_take_quadratic_time() {
    let mut values = EnumDescriptorProto {
        name: Some("E".to_owned()),
        ..EnumDescriptorProto::default()
    };
    for number in 0..300_000 {
        values.value.push(EnumValueDescriptorProto {
            name: Some(format!("V{number}")),
            number: Some(-number),
            ..EnumValueDescriptorProto::default()
        });
    }
    let mut enums = file("a");
    enums.enum_type.push(values);
    read_fast(vec![enums]);

    let mut wide = message("M");
    for number in 0..200_000 {
        wide.field
            .push(field(&format!("f{number}"), number + 1, Type::Bool));
        wide.reserved_range.push(ReservedRange {
            start: Some(number + 300_000),
            end: Some(number + 300_001),
        });
    }
    let mut fields = file("a");
    fields.message_type.push(wide);
    read_fast(vec![fields]);

    // Each fault is looked for among all positions.
    let mut faults = file("a");
    faults.message_type = vec![message("M"); 100_000];
    let locations = (0..100_000).map(|index| prost_types::source_code_info::Location {
        path: vec![4, index],
        span: vec![index, 0, 1],
        ..prost_types::source_code_info::Location::default()
    });
    faults.source_code_info = Some(prost_types::SourceCodeInfo {
        location: locations.collect(),
    });
    read_fast(vec![faults]);

    let mut long = file("a");
    long.package = Some(vec!["p"; 100_000].join("."));
    read_fast(vec![long]);
}

fn valid_sets() -> &'static [FileDescriptorSet] {
    static SETS: OnceLock<Vec<FileDescriptorSet>> = OnceLock::new();
    SETS.get_or_init(|| {
        [
            ("everything.proto", "tests/proto_text"),
            ("kinds.proto", "tests/json"),
            ("files.proto", "../proto"),
        ]
        .map(|(file, include)| {
            let schema = Schema::compile([file], [include]).unwrap();
            FileDescriptorSet::decode(schema.descriptor_set()).unwrap()
        })
        .into()
    })
}

/// Uses everything of a schema that a peer sent.
fn use_all(schema: &Schema) {
    let options = JsonOptions::new().default_values(true);
    let printer = nmfw_schema::proto_text::ProtoText::new(schema);
    for file in schema.pool().files() {
        assert!(printer.file(file.name()).is_some());
    }
    for message in schema.pool().all_messages() {
        _ = printer.element(message.full_name());
        _ = nmfw_schema::json_schema::message(&message);
        let Ok(encoded) = json::to_message(&message, b"{}", &options) else {
            continue;
        };
        _ = json::from_message(&message, encoded.as_slice(), &options);
        _ = json::from_message(&message, &b"\x0a\x02\x08\x01\x12\x00\x18\x01"[..], &options);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn damaged_sets_are_refused_or_usable(
        which in 0_usize..3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid_sets()[which].encode_to_vec();
        for (index, value) in flips {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(schema) = read(&bytes) {
            use_all(&schema);
        }
    }

    #[test]
    fn contradicting_sets_are_refused_or_usable(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let mut set = valid_sets()[which].clone();
        for (at, change, from) in changes {
            let file = set.file.len() - 1;
            change_file(&mut set.file[file], at, change, from);
        }
        if let Ok(schema) = read(&set.encode_to_vec()) {
            use_all(&schema);
        }
    }
}

/// Changes one property of one message, field or enum in a file.
fn change_file(
    file: &mut FileDescriptorProto,
    at: prop::sample::Index,
    change: u8,
    from: prop::sample::Index,
) {
    fn all<'a>(messages: &'a mut [DescriptorProto], found: &mut Vec<&'a mut FieldDescriptorProto>) {
        for message in messages {
            found.extend(&mut message.field);
            found.extend(&mut message.extension);
            all(&mut message.nested_type, found);
        }
    }
    if change.is_multiple_of(8) && !file.message_type.is_empty() {
        let message = at.index(file.message_type.len());
        let message = &mut file.message_type[message];
        let mut options = message.options.take().unwrap_or_default();
        match change / 8 % 4 {
            0 => options.map_entry = Some(true),
            1 => options.message_set_wire_format = Some(true),
            2 => drop(message.nested_type.pop()),
            _ => drop(message.oneof_decl.pop()),
        }
        message.options = Some(options);
        return;
    }
    let mut fields = Vec::new();
    all(&mut file.message_type, &mut fields);
    fields.extend(&mut file.extension);
    if fields.is_empty() {
        return;
    }
    let other = fields[from.index(fields.len())].clone();
    let at = at.index(fields.len());
    let field = &mut *fields[at];
    match change % 8 {
        1 => field.r#type = other.r#type,
        2 => field.type_name = other.type_name,
        3 => field.label = other.label,
        4 => field.number = other.number,
        5 => field.default_value = other.default_value,
        6 => field.oneof_index = other.oneof_index,
        7 if change & 8 == 0 => field.extendee = other.extendee,
        7 => field.name = other.name,
        _ => *field = other,
    }
}
