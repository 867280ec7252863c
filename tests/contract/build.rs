//! Generates code that uses `nmfw-core` instead of `nmfw`.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::configure()
        .runtime_path("::rpc")
        .compile_protos(&["../../proto/streams.proto"], &["../../proto"])
}
