//! Shutdown signals: [`Shutdown`], and the process's signals.

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

/// A trigger for a server's shutdown: graceful the first time, forced the second time.
///
/// Implemented for every future, which triggers once when it completes, and for [`ShutdownSignal`],
/// where a second signal forces the shutdown.
pub trait Shutdown: sealed::Sealed {
    #[doc(hidden)]
    fn requests(self) -> BoxStream<'static, ()>;
}

impl<F: Future<Output = ()> + Send + 'static> Shutdown for F {
    fn requests(self) -> BoxStream<'static, ()> {
        stream::once(self).boxed()
    }
}

/// Completes on SIGINT (Ctrl-C) and SIGTERM; created by [`shutdown_signal`].
#[derive(Debug)]
#[must_use = "does nothing until it is awaited or given to a server"]
#[non_exhaustive]
pub struct ShutdownSignal {}

/// Returns a trigger that stops a server on SIGINT (Ctrl-C) or SIGTERM; on Windows, on Ctrl-C.
///
/// Use it with [`Server::serve_with_shutdown`](crate::Server::serve_with_shutdown). The signal
/// handlers are installed when the server starts. Elsewhere, [`recv`](ShutdownSignal::recv) waits
/// for a signal.
pub const fn shutdown_signal() -> ShutdownSignal {
    ShutdownSignal {}
}

impl ShutdownSignal {
    /// Waits for the next signal.
    pub async fn recv(self) {
        self.requests().next().await;
    }
}

impl Shutdown for ShutdownSignal {
    fn requests(self) -> BoxStream<'static, ()> {
        match signals() {
            Ok(signals) => signals,
            Err(error) => {
                // Signals still kill the process, as they would without a handler.
                tracing::error!(%error, "cannot listen for signals: they end the process without a \
                                         graceful shutdown");
                stream::pending().boxed()
            }
        }
    }
}

#[cfg(unix)]
fn signals() -> std::io::Result<BoxStream<'static, ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (interrupt, terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let both = stream::unfold(
        (interrupt, terminate),
        |(mut interrupt, mut terminate)| async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!("SIGINT"),
                _ = terminate.recv() => tracing::info!("SIGTERM"),
            }
            Some(((), (interrupt, terminate)))
        },
    );
    Ok(both.boxed())
}

#[cfg(not(unix))]
fn signals() -> std::io::Result<BoxStream<'static, ()>> {
    let presses = stream::unfold((), |()| async {
        tokio::signal::ctrl_c().await.ok()?;
        tracing::info!("Ctrl-C");
        Some(((), ()))
    });
    Ok(presses.boxed())
}

mod sealed {
    pub trait Sealed {}
    impl<F: Future<Output = ()> + Send + 'static> Sealed for F {}
    impl Sealed for super::ShutdownSignal {}
}
