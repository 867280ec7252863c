fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::compile_protos(&["hello.proto"], &["."])
}
