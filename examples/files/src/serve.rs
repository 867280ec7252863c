//! `files serve`: runs the service.

use nmfw::{Server, embedded::Broker};

use crate::{
    blocking::blocking, cli::Serve, client::Error, files::FilesServer, service::FileService,
    store::Store,
};

/// The default port of NATS clients.
const PORT: u16 = 4222;

pub(crate) async fn serve(options: &Serve) -> Result<(), Error> {
    log_to_stderr();
    let dir = options.dir.clone();
    let store = blocking(move || {
        let store = Store::open(&dir)?;
        store.sweep()?;
        Ok(store)
    })
    .await?;
    // Kept until the end, because dropping a broker stops it.
    let broker = if options.embedded {
        Some(Broker::builder().port(PORT).start().await?)
    } else {
        None
    };
    let nats = match &broker {
        Some(broker) => nmfw::connect(broker.url()).await?,
        None => options.nats.connect().await?,
    };
    let service = FileService::new(store);
    Server::new(nats)
        .add_service(FilesServer::new(service))
        .serve_with_shutdown(nmfw::shutdown_signal())
        .await?;
    Ok(())
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,async_nats=warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
