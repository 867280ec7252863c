//! Generates code that names `nmfw-core` as this crate does.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::configure()
        .runtime_path("::rpc")
        .compile_protos(&["../../proto/streams.proto"], &["../../proto"])
}
