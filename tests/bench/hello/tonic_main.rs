mod hello {
    tonic::include_proto!("hello");
}

use hello::{
    HelloReply, HelloRequest,
    greeter_server::{Greeter, GreeterServer},
};
use tonic::{Request, Response, Status, transport::Server};

struct Polite;

#[tonic::async_trait]
impl Greeter for Polite {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let text = format!("Hello {}!", request.into_inner().name);
        Ok(Response::new(HelloReply { text }))
    }
}

#[tokio::main]
async fn main() -> Result<(), tonic::transport::Error> {
    let server = Server::builder().add_service(GreeterServer::new(Polite));
    server.serve(([127, 0, 0, 1], 50051).into()).await
}
