#![doc = include_str!("../README.md")]

mod client;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod outbox;
mod parser;
mod router;
mod settings;
mod sublist;

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{client::Shared, settings::Settings};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Delay after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a shutdown waits for clients to receive buffered output.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A running broker. Dropping it stops it.
///
/// All tasks of the broker run on the tokio runtime that started it and end with the `Broker`:
/// dropping it cuts its connections off, and [`shutdown`](Self::shutdown) closes them after their
/// buffered output is written.
#[derive(Debug)]
#[must_use = "a broker stops when it is dropped"]
pub struct Broker {
    addr: SocketAddr,
    shutdown: CancellationToken,
    accepting: JoinHandle<()>,
}

/// Settings of a [`Broker`], created by [`Broker::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    port: u16,
    settings: Settings,
}

impl Builder {
    /// Sets the port to listen on. The default, 0, selects any free port.
    ///
    /// A broker can be started on a port that another broker has just released.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the largest message in bytes, headers included. The default is 1 MiB.
    ///
    /// A client that sends more gets `Maximum Payload Violation` and is disconnected. Values above
    /// 999,999,999 have no effect, because the protocol cannot express larger sizes.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes;
        self
    }

    /// Sets the maximum number of bytes that may be buffered for one client. The default is 64 MiB.
    ///
    /// A client that reads so slowly that it exceeds this limit is disconnected, and so is one that
    /// takes longer than ten seconds to read what is buffered: keep the limit well above
    /// [`max_payload`](Self::max_payload). Other clients do not wait for a slow one, except that
    /// publishers are delayed by at most ten milliseconds per read while a receiver is at three
    /// quarters of its limit.
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.settings.max_pending = bytes;
        self
    }

    /// Starts the broker.
    ///
    /// # Errors
    ///
    /// Fails if the broker cannot listen on the port, usually because it is in use.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> io::Result<Broker> {
        let listener = listen(self.port)?;
        let addr = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let shared = Shared {
            settings: self.settings,
            addr,
            server_id: format!("NMFW{}", nuid::next()),
            router: router::Router::default(),
            shutdown: shutdown.clone(),
        };
        let accepting = tokio::spawn(accept(listener, Arc::new(shared)));
        Ok(Broker {
            addr,
            shutdown,
            accepting,
        })
    }
}

impl Broker {
    /// Starts a broker with default settings on any free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// Fails if no port is available.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns the settings of a new broker.
    ///
    /// ```
    /// # use nmfw_broker::Broker;
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// let broker = Broker::builder().max_payload(64 * 1024).start().await?;
    /// assert_eq!(broker.url(), format!("nats://127.0.0.1:{}", broker.port()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder {
            port: 0,
            settings: Settings::default(),
        }
    }

    /// Returns the URL for clients, `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Returns the port that the broker listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Shuts the broker down: stops accepting clients, writes buffered output and closes the
    /// connections, within two seconds.
    ///
    /// After it returns, the port is free for another broker.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        // An error means that the task panicked or that the runtime is shutting down; it has ended
        // either way.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.accepting.abort();
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of an earlier broker may still be in TIME_WAIT on the port. (On Windows the
    // option has another meaning, and is not needed.)
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    let at_port = |error: io::Error| {
        let text = format!("cannot listen on 127.0.0.1:{port}: {error}");
        io::Error::new(error.kind(), text)
    };
    socket
        .bind((Ipv4Addr::LOCALHOST, port).into())
        .map_err(at_port)?;
    socket.listen(BACKLOG).map_err(at_port)
}

/// Accepts clients until the shutdown. The tasks of clients are aborted when this task ends.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    let mut id = 0;
    let mut is_failing = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    id += 1;
                    is_failing = false;
                    clients.spawn(client::serve(Arc::clone(&shared), stream, peer, id));
                }
                Err(error) => {
                    // Logs one line for a series of failures, because the loop retries every 50 ms.
                    if !mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot accept a connection");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
            () = shared.shutdown.cancelled() => break,
        }
    }
    drop(listener);
    let _ = timeout(SHUTDOWN_GRACE, async {
        while clients.join_next().await.is_some() {}
    })
    .await;
    // Abort the remaining tasks and wait for them, because they keep the port in use.
    clients.shutdown().await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn session(ping_interval: Duration, answer: bool) -> (String, Duration) {
        let mut builder = Broker::builder();
        builder.settings.ping_interval = ping_interval;
        let broker = builder.start().await.unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", broker.port()))
            .await
            .unwrap();
        socket
            .write_all(b"CONNECT {\"verbose\":false}\r\n")
            .await
            .unwrap();
        let (start, mut said) = (Instant::now(), Vec::new());
        while start.elapsed() < ping_interval * 10 {
            match timeout(ping_interval, socket.read_buf(&mut said)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) if answer => socket.write_all(b"PONG\r\n").await.unwrap(),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        let said = String::from_utf8(said).unwrap();
        (
            said.split_once("\r\n").unwrap().1.to_owned(),
            start.elapsed(),
        )
    }

    #[tokio::test]
    async fn a_client_that_answers_no_pings_is_stale() {
        let interval = Duration::from_millis(100);
        let (said, after) = session(interval, false).await;
        assert_eq!(said, "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
        assert!(after >= 3 * interval);
    }

    #[tokio::test]
    async fn a_client_that_answers_stays() {
        let (said, after) = session(Duration::from_millis(100), true).await;
        assert!(said.matches("PING\r\n").count() >= 4, "{said}");
        assert!(
            !said.contains("ERR") && after >= Duration::from_secs(1),
            "{said}"
        );
    }
}
