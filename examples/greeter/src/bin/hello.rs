mod protos {
    nmfw::include_protos!();
}

use protos::greeter::{GreeterClient, HelloRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats = nmfw::connect_env().await?;
    let greeter = GreeterClient::new(nats);
    let name = std::env::args().nth(1).unwrap_or_default();
    let reply = greeter.hello(HelloRequest { name }).await?;
    println!("{}", reply.text);
    Ok(())
}
