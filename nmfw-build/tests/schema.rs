//! The descriptor sets that services carry.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use nmfw_build::{Builder, configure};
use prost::Message;
use prost_types::{FileDescriptorSet, source_code_info::Location};

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proto")
}

fn generate(file: &str, builder: Builder) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    builder
        .out_dir(dir.path())
        .compile_protos(&[protos().join(file)], &[protos()])
        .unwrap();
    dir
}

/// Returns the encoded set of a service.
fn schema(dir: &Path, service: &str) -> Vec<u8> {
    let compressed = fs::read(dir.join(format!("{service}.schema"))).unwrap();
    miniz_oxide::inflate::decompress_to_vec_zlib(&compressed).unwrap()
}

fn names(set: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(set).unwrap();
    set.file.iter().map(|file| file.name().to_owned()).collect()
}

#[test]
fn a_schema_has_the_file_after_its_imports() {
    for (proto, service, files) in [
        ("calc.proto", "calc.Calc", &["calc.proto"][..]),
        (
            "mesh/mesh.proto",
            "mesh.Discovery",
            &[
                "mesh/cluster.proto",
                "mesh/place.proto",
                "mesh/deep.proto",
                "mesh/mesh.proto",
            ],
        ),
        // Not `mesh/mesh.proto`, although it is in the same build.
        (
            "mesh/mesh.proto",
            "mesh.cluster.Endpoint",
            &["mesh/cluster.proto"],
        ),
        (
            "configured.proto",
            "acme.configured.Everything",
            &[
                "google/protobuf/descriptor.proto",
                "google/protobuf/duration.proto",
                "nmfw/options.proto",
                "configured.proto",
            ],
        ),
    ] {
        let dir = generate(proto, configure());
        assert_eq!(names(&schema(dir.path(), service)), files, "{service}");
    }
}

#[test]
fn services_of_a_file_share_a_schema() {
    let dir = generate("acme/billing/v1/invoices.proto", configure());
    let code = fs::read_to_string(dir.path().join("acme.billing.v1.rs")).unwrap();
    let including = code.matches("include_bytes!(\"acme.billing.v1.Invoices.schema\")");
    assert_eq!(including.count(), 2, "{code}");
    assert!(!dir.path().join("acme.billing.v1.Archive.schema").exists());
}

#[test]
fn comments_and_options_are_kept() {
    let dir = generate("configured.proto", configure());
    let set = schema(dir.path(), "acme.configured.Everything");
    let pool = prost_reflect::DescriptorPool::decode(&set[..]).unwrap();
    let service = pool
        .get_service_by_name("acme.configured.Everything")
        .unwrap();
    let option = pool.get_extension_by_name("nmfw.service").unwrap();
    assert!(service.options().has_extension(&option));
    let dir = generate("calc.proto", configure());
    let set = FileDescriptorSet::decode(&schema(dir.path(), "calc.Calc")[..]).unwrap();
    let info = set.file[0].source_code_info.as_ref().unwrap();
    let comments = info.location.iter().map(Location::leading_comments);
    assert!(comments.collect::<String>().contains("Calc"), "{info:?}");
}

#[test]
fn the_code_names_the_hash_of_the_set() {
    let dir = generate("calc.proto", configure());
    let code = fs::read_to_string(dir.path().join("calc.rs")).unwrap();
    let set = schema(dir.path(), "calc.Calc");
    let hash: String = hmac_sha256::Hash::hash(&set)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let code: String = code.split_whitespace().collect();
    let named = format!(".with_schema(\"{hash}\",::core::include_bytes!(\"calc.Calc.schema\")");
    assert!(code.contains(&named), "{named} in {code}");
}

#[test]
fn a_set_is_embedded_with_the_bytes_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.bin");
    // Only a part of it is the service's.
    configure()
        .out_dir(dir.path())
        .file_descriptor_set_path(&path)
        .compile_protos(
            &[
                protos().join("calc.proto"),
                protos().join("configured.proto"),
            ],
            &[protos()],
        )
        .unwrap();
    let mut set = FileDescriptorSet::decode(&fs::read(path).unwrap()[..]).unwrap();
    let calc = set.file.iter().position(|file| file.name() == "calc.proto");
    let calc = &mut set.file[calc.unwrap()];
    calc.source_code_info = None;
    let expected = FileDescriptorSet {
        file: vec![calc.clone()],
    }
    .encode_to_vec();
    let dir = tempfile::tempdir().unwrap();
    configure()
        .out_dir(dir.path())
        .compile_fds_bytes(
            &FileDescriptorSet {
                file: vec![calc.clone()],
            }
            .encode_to_vec(),
        )
        .unwrap();
    assert_eq!(schema(dir.path(), "calc.Calc"), expected);
}

#[test]
fn a_schema_can_be_left_out() {
    let dir = generate("calc.proto", configure().embed_schema(false));
    assert!(!dir.path().join("calc.Calc.schema").exists());
    let code = fs::read_to_string(dir.path().join("calc.rs")).unwrap();
    assert!(!code.contains("schema"), "{code}");
    let messages = configure().build_client(false).build_server(false);
    let dir = generate("calc.proto", messages);
    assert!(!dir.path().join("calc.Calc.schema").exists());
}
