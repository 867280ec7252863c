//! Generates the services that the code uses.

fn main() -> Result<(), nmfw_build::Error> {
    let protos = ["../../proto/calc.proto", "../../proto/streams.proto"];
    nmfw_build::compile_protos(&protos, &["../../proto"])
}
