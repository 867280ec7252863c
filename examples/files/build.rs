//! Generates the service from its `.proto`.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::configure()
        // Content goes from the network to the disk without being copied.
        .bytes(["."])
        .compile_protos(&["../../proto/files.proto"], &["../../proto"])
}
