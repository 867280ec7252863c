//! Generates the service from its `.proto`.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::compile_protos(&["../../proto/calc.proto"], &["../../proto"])
}
