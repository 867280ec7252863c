//! A NATS broker for development, until Ctrl-C. It listens on 127.0.0.1:4222, or on the port that
//! is its argument.

use std::{env, error::Error};

use nmfw::embedded::Broker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).unwrap_or_else(|| "4222".to_owned());
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port"))?;
    let broker = Broker::builder().port(port).start().await?;
    println!("a NATS broker for development at {}", broker.url());
    nmfw::shutdown_signal().recv().await;
    broker.shutdown().await;
    Ok(())
}
