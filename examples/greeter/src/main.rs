mod protos {
    nmfw::include_protos!();
}

use nmfw::{Context, Server, Status};
use protos::greeter::{Greeter, GreeterServer, HelloReply, HelloRequest};

struct Polite;

impl Greeter for Polite {
    async fn hello(&self, _ctx: Context, req: HelloRequest) -> Result<HelloReply, Status> {
        if req.name.is_empty() {
            return Err(Status::invalid_argument("who?"));
        }
        Ok(HelloReply {
            text: format!("Good day, {}!", req.name),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), nmfw::Error> {
    tracing_subscriber::fmt::init(); // nmfw logs through `tracing`
    // $NATS_URL, a context of the `nats` command, or nats://localhost:4222.
    let nats = nmfw::connect_env().await?;
    Server::new(nats)
        .add_service(GreeterServer::new(Polite))
        .serve_with_shutdown(nmfw::shutdown_signal()) // SIGINT or SIGTERM: drain, then return
        .await?;
    Ok(())
}
