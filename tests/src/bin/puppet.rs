//! The puppet as a separate process, for tests that signal or kill it:
//! `puppet <url> [<grace in milliseconds>]`.

use std::time::Duration;

use nmfw::{Server, server::DEFAULT_GRACE};
use nmfw_tests::puppet::{PuppetServer, Strings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("no url given")?;
    let grace = match args.next() {
        Some(millis) => Duration::from_millis(millis.parse()?),
        None => DEFAULT_GRACE,
    };
    Server::new(nmfw::connect(url).await?)
        .add_service(PuppetServer::new(Strings::default()))
        .grace(grace)
        .serve_with_shutdown(nmfw::shutdown_signal())
        .await?;
    Ok(())
}
