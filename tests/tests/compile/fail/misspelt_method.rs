//! A method that is named by its constant is one that the service has.

use nmfw::{client::RateLimitLayer, server::Service};
use nmfw_tests::calc::{CalcClient, CalcServer};

fn serve(calc: Service) -> Service {
    calc.only([CalcServer::ADDD])
        .method(CalcServer::AVERGE, |limits| limits.concurrency(4))
}

fn limit(layer: RateLimitLayer) -> RateLimitLayer {
    layer.methods([CalcClient::EXPRESION])
}

fn main() {}
