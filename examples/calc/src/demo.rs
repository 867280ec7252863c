//! `calc demo`: broker, service and client in one process, with nothing to install.

#![allow(clippy::print_stdout, reason = "a demo prints its results")]

use nmfw::async_nats::ConnectionExt as _;
use std::{error::Error, time::Duration};

use nmfw::{Connection, Server, embedded::Broker};

use crate::{
    calc::{AddRequest, AverageRequest, CalcClient, CalcServer, ExpressionRequest},
    calculator::Calculator,
};

/// Time limit for discovery.
const DISCOVERY: Duration = Duration::from_secs(5);

/// Starts a broker and the service, calls it, prints what discovery reports, and ends.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let broker = Broker::start().await?;
    println!("A broker listens on {}", broker.url());

    let server = Server::new(nmfw::connect(broker.url()).await?)
        .add_service(CalcServer::new(Calculator))
        .start()
        .await?;
    for service in server.services() {
        println!(
            "Service {} {} runs as instance {}",
            service.name, service.version, service.id
        );
    }

    // A separate connection, as for a client in another process.
    let nats = nmfw::connect(broker.url()).await?;
    let calc = CalcClient::new(&nats);
    let values = vec![1.1, 2.0, 3.5];
    let request = AverageRequest {
        values: values.clone(),
    };
    println!(
        "\naverage 1.1 2 3.5   = {}",
        calc.average(request).await?.result
    );
    let request = AddRequest { values };
    println!("add 1.1 2 3.5       = {}", calc.add(request).await?.result);
    let request = ExpressionRequest {
        expression: "2*(3+4)".to_owned(),
    };
    println!(
        "expression 2*(3+4)  = {}",
        calc.expression(request).await?.result
    );

    for verb in ["PING", "INFO", "STATS"] {
        println!("\nAnswer to $SRV.{verb}.calc: {}", ask(&nats, verb).await?);
    }

    server.stop();
    server.join().await?;
    broker.shutdown().await;
    println!("\nDone: service and broker have stopped.");
    Ok(())
}

/// Queries discovery with plain NATS, like any other client.
async fn ask(nats: &Connection, verb: &str) -> Result<String, Box<dyn Error>> {
    let request = nats
        .client()
        .request(format!("$SRV.{verb}.calc"), "".into());
    let answer = tokio::time::timeout(DISCOVERY, request).await??;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    Ok(serde_json::to_string_pretty(&answer)?)
}
