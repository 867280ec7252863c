//! Generates the same service twice: for nmfw and for tonic, both with bodies as `Bytes`.

use std::{error::Error, fs, path::PathBuf};

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
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
