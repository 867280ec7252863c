//! `nmfw broker`: the embedded broker.

use clap::Args;
use nmfw::embedded;

use crate::{
    failure::Failure,
    output::{Output, text::STRONG},
};

/// Run a NATS server for trying things out
///
/// It has what nmfw needs of NATS, without authentication, TLS, JetStream and clusters, and listens
/// on this machine only. Ends with Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// The port to listen on; 0 for any free one
    #[arg(long, default_value_t = 4222)]
    port: u16,

    /// The largest message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    max_payload: u32,
}

impl Broker {
    pub(super) async fn execute(self, output: &Output) -> Result<(), Failure> {
        let builder = embedded::Broker::builder().port(self.port);
        let broker = builder.max_payload(usize::try_from(self.max_payload).unwrap_or(usize::MAX));
        let broker = broker.start().await.map_err(|error| {
            Failure::new("the broker cannot start")
                .caused_by(&error)
                .hint("choose another --port, or use the NATS server that has this one")
        })?;
        match output.is_json() {
            true => {
                let (url, port) = (broker.url(), broker.port());
                output.print_json(&serde_json::json!({ "url": url, "port": port }))?;
            }
            false => {
                let url = broker.url();
                output.print(&format!(
                    "{STRONG}listening on {url}{STRONG:#}; Ctrl-C ends it\n"
                ))?;
            }
        }
        nmfw::shutdown_signal().recv().await;
        broker.shutdown().await;
        Ok(())
    }
}
