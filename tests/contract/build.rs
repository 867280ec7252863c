//! Generates code that names `nmfw-core` as this crate does, with options that its tests use.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::configure()
        .runtime_path("::rpc")
        .generate_default_stubs(true)
        .file_descriptor_set(true)
        .client_attribute(".nmfw", "#[cfg(all())]")
        .server_attribute(".nmfw", "#[cfg(all())]")
        .trait_attribute("Streams", "#[doc(alias = \"Flows\")]")
        .compile_protos(&["../../proto/streams.proto"], &["../../proto"])
}
