mod hello {
    nmfw::include_proto!("hello");
}

use hello::{Greeter, GreeterServer, HelloReply, HelloRequest};
use nmfw::{Context, Server, Status};

struct Polite;

impl Greeter for Polite {
    async fn hello(&self, _ctx: Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let text = format!("Hello {}!", request.name);
        Ok(HelloReply { text })
    }
}

#[tokio::main]
async fn main() -> Result<(), nmfw::Error> {
    let nats = nmfw::connect("nats://127.0.0.1:4222").await?;
    let server = Server::new(nats).add_service(GreeterServer::new(Polite));
    server.serve().await?;
    Ok(())
}
