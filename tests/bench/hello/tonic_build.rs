fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["hello.proto"], ["."])?;
    tonic_prost_build::compile_fds(files)?;
    Ok(())
}
