//! Generates the services for the tests.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{error, fs};

use nmfw_build::{Builder, Error, PermissionFiles};

fn main() -> Result<(), Box<dyn error::Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let permissions = PermissionFiles::new(out.join("permissions"))
        .client("reporting", ["calc.Calc.Add", "nmfw.streams.Streams.Count"])
        .exported_by("SERVICES");
    nmfw_build::configure()
        .permissions(permissions)
        .compile_protos(
            &[
                "../proto/calc.proto",
                "../proto/puppet.proto",
                "../proto/streams.proto",
            ],
            &["../proto"],
        )?;
    // A second run to the same folder, with packages that use each other.
    nmfw_build::compile_protos(
        &[
            "proto/options/shop.proto",
            "proto/upper/board.proto",
            "proto/weird/names.proto",
        ],
        &["proto"],
    )?;
    deep_messages(&out.join("deep"))?;
    builder_options()?;
    Ok(())
}

/// Generates messages that nest deeper than rustc's default limit: a chain of 70, and a cycle of 40
/// in lists.
fn deep_messages(folder: &Path) -> Result<(), Box<dyn error::Error>> {
    let mut source = "syntax = \"proto3\";\npackage deep;\n".to_owned();
    for n in 0..70 {
        writeln!(source, "message Chain{n} {{ Chain{} next = 1; }}", n + 1)?;
    }
    source.push_str("message Chain70 {}\n");
    for n in 0..40 {
        let next = (n + 1) % 40;
        writeln!(
            source,
            "message Ring{n} {{ repeated Ring{next} next = 1; }}"
        )?;
    }
    source.push_str("service Deep { rpc Get(Chain0) returns (Ring0); }\n");
    fs::create_dir_all(folder)?;
    let proto = folder.join("deep.proto");
    fs::write(&proto, source)?;
    nmfw_build::configure()
        .out_dir(folder)
        .compile_protos(&[proto], &[folder])?;
    Ok(())
}

/// Generates the same files with different settings, each in a separate folder.
fn builder_options() -> Result<(), Error> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let generate = |folder: &str, change: fn(Builder) -> Builder| {
        let builder = nmfw_build::configure()
            .out_dir(out.join(folder))
            .include_file("protos.rs");
        change(builder).compile_protos(
            &[Path::new("proto/options/shop.proto")],
            &[Path::new("proto")],
        )
    };
    generate("plain", |builder| builder)?;
    generate("btree_map", |builder| builder.btree_map(["."]))?;
    generate("one_btree_map", |builder| {
        builder.btree_map([".corners.shop.Order.states"])
    })?;
    generate("bytes", |builder| builder.bytes(["."]).btree_map(["."]))?;
    generate("attributes", |builder| {
        builder
            .type_attribute(
                ".corners.types.Part",
                "#[derive(PartialOrd)] #[must_use = \"parts cost money\"]",
            )
            .message_attribute(".", "#[derive(serde::Serialize)]")
            .enum_attribute(".", "#[derive(serde::Serialize)]")
            .field_attribute(".corners.shop.Order.raw", "#[serde(skip)]")
    })?;
    generate("extern_path", |builder| {
        builder.extern_path(
            ".corners.types",
            "crate::generated::builder_options::plain::corners::types",
        )
    })?;
    generate("client_only", |builder| builder.build_server(false))?;
    generate("server_only", |builder| builder.build_client(false))?;
    generate("messages_only", |builder| {
        builder.build_client(false).build_server(false)
    })?;
    generate("named", |builder| {
        builder.subject_prefix("acme.eu").service_version("7.8.9")
    })?;
    generate("runtime_path", |builder| {
        builder
            .runtime_path("crate::generated::builder_options::rpc::nmfw")
            .btree_map(["."])
    })
}
