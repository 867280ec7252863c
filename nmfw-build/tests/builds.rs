//! Tests of which files are written, when, and from which kinds of input.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nmfw_build::{Builder, Error, configure};
use prost::Message;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proto")
}

fn builder(out: &Path) -> Builder {
    configure().service_version("0.1.0").out_dir(out)
}

fn read(dir: &Path) -> BTreeMap<PathBuf, String> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            (
                path.file_name().unwrap().into(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            )
        })
        .collect()
}

/// Writes an encoded set with the services that have all options, and returns its path.
fn configured_set(dir: &Path) -> PathBuf {
    let set = dir.join("configured.bin");
    builder(&dir.join("direct"))
        .file_descriptor_set_path(&set)
        .compile_protos(&[protos().join("configured.proto")], &[protos()])
        .unwrap();
    set
}

#[test]
fn a_second_run_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("set.bin");
    let run = || {
        builder(dir.path())
            .include_file("protos.rs")
            .file_descriptor_set_path(&set)
            .compile_protos(
                &[protos().join("acme/billing/v1/invoices.proto")],
                &[protos()],
            )
            .unwrap();
    };
    run();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let files: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 6, "{files:?}");
    for file in &files {
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    run();
    for file in &files {
        let modified = fs::metadata(file).unwrap().modified().unwrap();
        assert!(
            modified <= old + Duration::from_secs(1),
            "{} was written again",
            file.display()
        );
    }
}

#[test]
fn a_descriptor_set_gives_the_same_code_with_all_options() {
    let dir = tempfile::tempdir().unwrap();
    let set = configured_set(dir.path());
    let direct = read(&dir.path().join("direct"));
    assert_eq!(direct.len(), 2, "{:?}", direct.keys());

    builder(&dir.path().join("file"))
        .compile_fds_file(&set)
        .unwrap();
    assert_eq!(read(&dir.path().join("file")), direct);
    builder(&dir.path().join("bytes"))
        .compile_fds_bytes(&fs::read(&set).unwrap())
        .unwrap();
    assert_eq!(read(&dir.path().join("bytes")), direct);
}

#[test]
fn a_decoded_set_that_lost_options_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let set = fs::read(configured_set(dir.path())).unwrap();
    let set = FileDescriptorSet::decode(set.as_slice()).unwrap();
    let error = builder(dir.path())
        .compile_fds(set)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`configured.proto` uses `nmfw/options.proto`"),
        "{error}"
    );
    assert!(error.contains("compile_fds_bytes"), "{error}");
}

#[test]
fn a_decoded_set_that_lost_its_edition_is_an_error() {
    let file = FileDescriptorProto {
        name: Some("a.proto".into()),
        syntax: Some("editions".into()),
        ..Default::default()
    };
    let set = FileDescriptorSet { file: vec![file] };
    let error = configure().compile_fds(set).unwrap_err().to_string();
    assert!(error.contains("`a.proto` uses an edition"), "{error}");
    assert!(error.contains("compile_fds_bytes"), "{error}");
}

#[test]
fn a_decoded_set_without_options_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("set.bin");
    let proto = [protos().join("well_known.proto")];
    builder(&dir.path().join("direct"))
        .file_descriptor_set_path(&set)
        .compile_protos(&proto, &[protos()])
        .unwrap();
    let set = FileDescriptorSet::decode(fs::read(&set).unwrap().as_slice()).unwrap();
    builder(&dir.path().join("set")).compile_fds(set).unwrap();
    assert_eq!(
        read(&dir.path().join("set")),
        read(&dir.path().join("direct"))
    );
}

#[test]
fn a_set_without_source_information_is_generated_without_docs() {
    let dir = tempfile::tempdir().unwrap();
    let set = configured_set(dir.path());
    let mut set = FileDescriptorSet::decode(fs::read(set).unwrap().as_slice()).unwrap();
    set.file.retain(|file| file.name() == "configured.proto");
    set.file[0].dependency.clear();
    set.file[0].source_code_info = None;
    builder(&dir.path().join("set")).compile_fds(set).unwrap();
    let code = read(&dir.path().join("set"))
        .remove(Path::new("acme.configured.rs"))
        .unwrap();
    assert!(code.contains("pub trait Everything:"), "{code}");
    assert!(code.contains("pub struct Request {"), "{code}");
    // Only generated items have docs.
    assert_eq!(
        code.find("///"),
        code.find("/// The description of the service"),
        "{code}"
    );
}

#[test]
fn a_set_that_cannot_be_used_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = |file: FileDescriptorProto| FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let editions = FileDescriptorProto {
        name: Some("a.proto".into()),
        syntax: Some("editions".into()),
        ..Default::default()
    };
    let import = FileDescriptorProto {
        name: Some("a.proto".into()),
        dependency: vec!["nowhere.proto".into()],
        ..Default::default()
    };
    let no_name = FileDescriptorProto {
        message_type: vec![DescriptorProto::default()],
        ..Default::default()
    };
    let method = MethodDescriptorProto {
        name: Some("B".into()),
        input_type: Some(".Missing".into()),
        output_type: Some(".Missing".into()),
        ..Default::default()
    };
    let bad_type = FileDescriptorProto {
        name: Some("a.proto".into()),
        service: vec![ServiceDescriptorProto {
            name: Some("A".into()),
            method: vec![method],
            ..Default::default()
        }],
        ..Default::default()
    };
    for (set, expected) in [
        (
            b"not a set".to_vec(),
            "the descriptor set cannot be used: the bytes are not a FileDescriptorSet",
        ),
        (
            file(editions),
            "`a.proto` has an unsupported edition: the editions 2023, 2024, 2026, proto2 and \
             proto3 are supported",
        ),
        (
            file(import),
            "`a.proto` imports `nowhere.proto`, which is not in the set",
        ),
        (file(no_name), "a file in the set has no name"),
        (
            file(bad_type),
            "error: name '.Missing' is not defined\n  = note: in a.proto\n",
        ),
    ] {
        let report = format!(
            "{:?}",
            builder(dir.path()).compile_fds_bytes(&set).unwrap_err()
        );
        assert!(report.contains(expected), "{report}");
    }
    let missing = dir.path().join("missing.bin");
    let error = builder(dir.path())
        .compile_fds_file(&missing)
        .unwrap_err()
        .to_string();
    assert_eq!(error, format!("cannot read `{}`", missing.display()));
}

#[test]
fn a_project_may_have_its_own_copy_of_the_options() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("nmfw")).unwrap();
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/nmfw/options.proto");
    // Another version, without a timeout and with an additional option.
    let older = fs::read_to_string(copy)
        .unwrap()
        .replace("Duration timeout", "Duration older_timeout");
    fs::write(dir.path().join("nmfw/options.proto"), older).unwrap();
    let proto = dir.path().join("a.proto");
    let source = "syntax = \"proto3\"; package a; import \"nmfw/options.proto\";
        service B { option (nmfw.service) = { version: \"2.0.0\" older_timeout: { seconds: 1 } }; }";
    fs::write(&proto, source).unwrap();
    builder(&dir.path().join("out"))
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap();
    let code = read(&dir.path().join("out"))
        .remove(Path::new("a.rs"))
        .unwrap();
    assert!(
        code.contains(".with_version(\"2.0.0\")") && !code.contains("timeout_ms"),
        "{code}"
    );
}

#[test]
fn settings_of_prost_are_used() {
    let dir = tempfile::tempdir().unwrap();
    builder(dir.path())
        .bytes(["."])
        .btree_map(["."])
        .type_attribute(".acme.billing.v1.Invoice", "#[derive(Eq)]")
        .message_attribute("GetRequest", "#[derive(Hash)]")
        .field_attribute("GetRequest.id", "#[allow(unused)]")
        .enum_attribute("Order", "#[non_exhaustive]")
        .prost_config(|config| {
            config.enable_type_names();
        })
        .compile_protos(
            &[
                protos().join("acme/billing/v1/invoices.proto"),
                protos().join("legacy.proto"),
            ],
            &[protos()],
        )
        .unwrap();
    let files = read(dir.path());
    let invoices = &files[Path::new("acme.billing.v1.rs")];
    for part in [
        "#[derive(Eq)]",
        "#[derive(Hash)]",
        "#[allow(unused)]",
        "BTreeMap",
        "impl ::nmfw::codegen::v1::prost::Name for",
    ] {
        assert!(invoices.contains(part), "no {part} in {invoices}");
    }
    assert!(files[Path::new("acme.common.rs")].contains("#[non_exhaustive]"));
    assert!(files[Path::new("legacy.rs")].contains("::nmfw::codegen::v1::prost::bytes::Bytes"));
}

#[test]
fn comments_names_and_prefixes_are_a_choice() {
    let dir = tempfile::tempdir().unwrap();
    let proto = dir.path().join("a.proto");
    let source = "syntax = \"proto3\"; package a;
        // About the enum.
        enum Level { LEVEL_LOW = 0; }
        // About the message.
        message Node { Level level = 1; Leaf leaf = 2; }
        message Leaf {}
        // About the service.
        service Tree {
          // About a method.
          rpc Grow(Node) returns (Node);
          // About another.
          rpc Fell(Node) returns (Node);
        }";
    fs::write(&proto, source).unwrap();
    let generate = |builder: Builder| {
        builder.compile_protos(&[&proto], &[dir.path()]).unwrap();
        read(dir.path()).remove(Path::new("a.rs")).unwrap()
    };
    let code = generate(builder(dir.path()));
    for part in [
        "About the enum",
        "About the message",
        "About the service",
        "About a method",
        "Low = 0",
    ] {
        assert!(code.contains(part), "no {part} in {code}");
    }
    assert!(code.contains("prost::Name for Node"), "{code}");

    let code = generate(
        builder(dir.path())
            .disable_comments([".a.Node"])
            .disable_comments(["Grow"])
            .type_names(false)
            .strip_enum_prefix(false)
            .boxed(".a.Node.leaf")
            .skip_debug([".a.Leaf"]),
    );
    for part in [
        "About the enum",
        "About the service",
        "About another",
        "LevelLow = 0",
        "boxed",
        "skip_debug",
    ] {
        assert!(code.contains(part), "no {part} in {code}");
    }
    for part in ["About the message", "About a method", "prost::Name"] {
        assert!(!code.contains(part), "{part} in {code}");
    }
    let code = generate(builder(dir.path()).disable_comments([".a"]));
    assert!(!code.contains("// About "), "{code}");
    let code = generate(builder(dir.path()).disable_comments(["."]));
    assert!(!code.contains("// About "), "{code}");
}

#[test]
fn names_of_services_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let proto = dir.path().join("a.proto");
    // The chosen name is one that the other service would have had.
    let source = "syntax = \"proto3\"; package a; message BClient {}
        service B { rpc Get(BClient) returns (BClient); } service CB {}";
    fs::write(&proto, source).unwrap();
    builder(dir.path())
        .rename_service(".a.B", "Cb")
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap();
    let code = read(dir.path()).remove(Path::new("a.rs")).unwrap();
    for part in [
        ".with_name(\"a-b\")\n    .with_subject(\"nmfw.a.b\")",
        "pub static CB_SPEC:",
        "pub trait Cb:",
        "pub struct CbServer;",
        "pub struct CbClient(",
        "impl Cb for CbClient {",
        "pub static CB_SPEC_:",
        "pub trait Cb_:",
        "pub struct CbServer_;",
        "pub struct CbClient_(",
    ] {
        assert!(code.contains(part), "no {part} in {code}");
    }
    // Names that are not generated cannot conflict.
    builder(dir.path())
        .build_client(false)
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap();
    let code = read(dir.path()).remove(Path::new("a.rs")).unwrap();
    assert!(
        code.contains("pub trait B:") && !code.contains("BClient_"),
        "{code}"
    );
}

#[test]
fn a_proto_may_be_named_below_its_include() {
    let dir = tempfile::tempdir().unwrap();
    builder(dir.path())
        .compile_protos(&["calc.proto"], &[protos()])
        .unwrap();
    assert!(dir.path().join("calc.rs").is_file());
}

/// Runs a test again as cargo runs a build script, and returns its output.
fn as_build_script(test: &str, out: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("NMFW_AS_BUILD_SCRIPT", "1")
        .env("OUT_DIR", out)
        .env("TARGET", "x")
        .env("HOST", "x")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_build_script_may_generate_several_times() {
    const NAME: &str = "a_build_script_may_generate_several_times";
    if std::env::var_os("NMFW_AS_BUILD_SCRIPT").is_some() {
        let generate = |proto: &str| nmfw_build::compile_protos(&[proto], &[protos()]);
        generate("acme/billing/v1/refunds.proto").unwrap();
        generate("calc.proto").unwrap();
        // With another file of the package, and then without it.
        generate("acme/billing/v1/invoices.proto").unwrap();
        // To the same folder, by its name.
        configure()
            .out_dir(std::env::var("OUT_DIR").unwrap())
            .compile_protos(&["no_package.proto"], &[protos()])
            .unwrap();
        let error = generate("acme/billing/v1/refunds.proto").unwrap_err();
        assert_eq!(
            error.to_string(),
            "this build script has already generated the package `acme.billing.v1`, from files \
             that include `acme/billing/v1/invoices.proto`, and would replace \
             `acme.billing.v1.rs`: pass all files of a package to one call, or set another folder \
             with `out_dir`"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let printed = as_build_script(NAME, dir.path());
    let variable = format!("cargo:rustc-env=NMFW_OUT_DIR={}\n", dir.path().display());
    assert!(printed.contains(&variable), "{printed}");
    let files = read(dir.path());
    let all = &files[Path::new("nmfw-protos.rs")];
    let one = &files[Path::new("nmfw-packages.rs")];
    for package in ["acme.billing.v1", "acme.common", "calc", "_"] {
        let include = format!("include!(concat!(env!(\"OUT_DIR\"), \"/{package}.rs\"));");
        assert!(all.contains(&include), "no {package} in {all}");
        let arm = format!("(\"{package}\") => {{ {include} }};\n");
        assert!(one.contains(&arm), "no {package} in {one}");
    }
}

#[test]
fn cargo_is_told_which_files_were_read() {
    const NAME: &str = "cargo_is_told_which_files_were_read";
    if std::env::var_os("NMFW_AS_BUILD_SCRIPT").is_some() {
        let includes = [protos()];
        nmfw_build::compile_protos(
            &["acme/billing/v1/invoices.proto", "configured.proto"],
            &includes,
        )
        .unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let printed = as_build_script(NAME, dir.path());
    let read: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.rsplit_once("cargo:rerun-if-changed="))
        .map(|(_, path)| path)
        .collect();
    let expected = [
        "acme/billing/v1/invoices.proto",
        "acme/billing/v1/refunds.proto",
        "acme/common/money.proto",
        "configured.proto",
    ];
    let expected: Vec<String> = expected
        .iter()
        .map(|name| protos().join(name).display().to_string())
        .collect();
    // Google's files and the options are not included, because they are not on disk.
    assert_eq!(read, expected, "{printed}");
    // The default folder is cargo's, and the default version is this crate's.
    let code = fs::read_to_string(dir.path().join("acme.billing.v1.rs")).unwrap();
    assert!(
        code.contains(concat!(
            ".with_version(\"",
            env!("CARGO_PKG_VERSION"),
            "\")"
        )),
        "{code}"
    );
}

#[test]
fn items_of_services_get_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let proto = protos().join("calc.proto");
    let generate = |builder: Builder| {
        builder.compile_protos(&[&proto], &[protos()])?;
        Ok::<_, Error>(read(dir.path()).remove(Path::new("calc.rs")).unwrap())
    };
    let of_client = r#"#[cfg(feature = "client")]"#;
    let of_server = r#"#[cfg(feature = "server")]"#;
    let code = generate(
        builder(dir.path())
            .client_attribute(".calc", of_client)
            .server_attribute("Calc", of_server)
            .trait_attribute(".", "#[must_use]")
            .trait_attribute(".other", "#[cold]"),
    )
    .unwrap();
    let count = |text: &str| code.matches(text).count();
    // The type, its methods, and the trait's implementation or the client's `local`.
    assert_eq!([of_client, of_server].map(count), [3, 3], "{code}");
    assert_eq!(["#[must_use]", "#[cold]"].map(count), [1, 0], "{code}");

    let error = generate(builder(dir.path()).client_attribute(".", "derive(Eq)")).unwrap_err();
    assert!(
        error.to_string().contains("`derive(Eq)` is no attribute"),
        "{error}"
    );
}
