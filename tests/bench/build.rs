//! Generates the same service twice, for nmfw and for tonic, both with bodies as `Bytes`, and a
//! service with many methods for nmfw.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Number of methods of the large service.
const METHODS: usize = if cfg!(feature = "thousand-methods") {
    1000
} else {
    100
};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let dir = |name: &str| {
        let dir = out.join(name);
        fs::create_dir_all(&dir).map(|()| dir)
    };
    nmfw_build::configure()
        .out_dir(dir("nmfw")?)
        .bytes(["."])
        .compile_protos(&["proto/bench.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .out_dir(dir("tonic")?)
        .bytes(".")
        .compile_fds(protox::compile(["proto/bench.proto"], ["proto"])?)?;
    wide(&dir("wide")?)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}

/// Writes a service of [`METHODS`] methods, generates it, and implements it.
fn wide(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut proto = String::from(
        "syntax = \"proto3\";\n\npackage nmfw.bench.wide;\n\n\
         message Payload {\n  bytes body = 1;\n}\n\nservice Wide {\n",
    );
    let mut echo = String::from("impl Wide for Echo {\n");
    let others = (1..METHODS).map(|number| (format!("Other{number}"), format!("other{number}")));
    for (method, function) in others.chain([("Echo".to_owned(), "echo".to_owned())]) {
        writeln!(proto, "  rpc {method}(Payload) returns (Payload);")?;
        writeln!(
            echo,
            "    async fn {function}(&self, _ctx: Context, request: Payload) -> Result<Payload, Status> \
             {{ Ok(request) }}"
        )?;
    }
    proto.push_str("}\n");
    echo.push_str("}\n");
    let file = dir.join("wide.proto");
    fs::write(&file, proto)?;
    fs::write(dir.join("echo.rs"), echo)?;
    nmfw_build::configure()
        .out_dir(dir)
        .bytes(["."])
        // The client would take long to compile, and calls do not need it.
        .build_client(false)
        // From descriptors: cargo would otherwise watch the generated file, and rebuild each time.
        .compile_fds(protox::compile([file], [dir])?)?;
    Ok(())
}
