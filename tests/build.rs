//! Generates the services that the tests serve and call.

fn main() -> Result<(), nmfw_build::Error> {
    nmfw_build::compile_protos(
        &["../proto/calc.proto", "../proto/puppet.proto"],
        &["../proto"],
    )
}
