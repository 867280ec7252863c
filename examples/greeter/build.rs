fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::compile_protos(&["proto/greeter.proto"], &["proto"])
}
