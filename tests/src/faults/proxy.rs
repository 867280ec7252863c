//! A TCP proxy between a client and a server, for faults of the link.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::failure::{Doing, Failure};

/// Maximum number of chunks in transit in one direction. Bounds the memory, and with a delay the
/// throughput, at 16 MiB per delay.
const IN_FLIGHT: usize = 1024;
const CHUNK: usize = 16 * 1024;

/// The direction of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    stalled_to_server: bool,
    stalled_to_client: bool,
    delay: Duration,
    bytes_per_second: Option<u32>,
    down: bool,
    /// Connections of an older generation are cut.
    generation: u64,
}

impl Conditions {
    fn stalled(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.stalled_to_server,
            Direction::ToClient => self.stalled_to_client,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicUsize,
}

/// Forwards loopback connections to a server. Commands apply to the open connections and to later
/// ones. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    conditions: watch::Sender<Conditions>,
    counts: Arc<Counts>,
    acceptor: AbortHandle,
}

impl Proxy {
    /// Starts a proxy on a free loopback port, for the server on `server_port`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot listen.
    pub async fn start(server_port: u16) -> Result<Self, Failure> {
        let port = crate::free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .doing("listen for the proxy")?;
        let conditions = watch::Sender::new(Conditions::default());
        let counts = Arc::new(Counts::default());
        let server = SocketAddr::from(([127, 0, 0, 1], server_port));
        let acceptor = tokio::spawn(accept(
            listener,
            server,
            conditions.clone(),
            Arc::clone(&counts),
        ))
        .abort_handle();
        Ok(Self {
            port,
            conditions,
            counts,
            acceptor,
        })
    }

    /// Returns `nats://127.0.0.1:<port of the proxy>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the proxy's own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes the open connections and discards the data in transit. New connections are accepted.
    pub fn cut(&self) {
        self.conditions.send_modify(|now| now.generation += 1);
    }

    /// Closes the open connections, and every new one at once, until [`up`](Self::up).
    pub fn down(&self) {
        self.conditions.send_modify(|now| {
            now.generation += 1;
            now.down = true;
        });
    }

    /// Accepts new connections again.
    pub fn up(&self) {
        self.conditions.send_modify(|now| now.down = false);
    }

    /// Stalls the data of one direction. The connection stays open, and its sender soon finds its
    /// socket full.
    pub fn stall(&self, direction: Direction) {
        self.set_stalled(direction, true);
    }

    /// Releases the data of one direction, beginning with the stalled data.
    pub fn resume(&self, direction: Direction) {
        self.set_stalled(direction, false);
    }

    /// Delays data in each direction by this time, independent of its size.
    pub fn delay(&self, delay: Duration) {
        self.conditions.send_modify(|now| now.delay = delay);
    }

    /// Limits the bytes per second of each connection and direction; `None` removes the limit.
    pub fn throttle(&self, bytes_per_second: Option<u32>) {
        self.conditions
            .send_modify(|now| now.bytes_per_second = bytes_per_second);
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn set_stalled(&self, direction: Direction, stalled: bool) {
        self.conditions.send_modify(|now| match direction {
            Direction::ToServer => now.stalled_to_server = stalled,
            Direction::ToClient => now.stalled_to_client = stalled,
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The acceptor owns the connections' tasks.
        self.acceptor.abort();
    }
}

/// Counts a connection as open while it exists.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    conditions: watch::Sender<Conditions>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        while connections.try_join_next().is_some() {}
        let conditions = conditions.subscribe();
        if !conditions.borrow().down {
            connections.spawn(forward(client, server, conditions, Open::new(&counts)));
        }
    }
}

async fn forward(
    client: TcpStream,
    server: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    _open: Open,
) {
    let born = conditions.borrow().generation;
    let mut cut = conditions.clone();
    let both_ways = async {
        let server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        // An error of one side ends the other too; the mere end of one side does not.
        tokio::try_join!(
            pump(
                client_read,
                server_write,
                Direction::ToServer,
                conditions.clone()
            ),
            pump(
                server_read,
                client_write,
                Direction::ToClient,
                conditions.clone()
            ),
        )
    };
    tokio::select! {
        _ = both_ways => {}
        _ = cut.wait_for(|now| now.generation != born) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    conditions: watch::Receiver<Conditions>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async {
        let mut buffer = vec![0; CHUNK];
        let mut conditions = conditions.clone();
        loop {
            flowing(&mut conditions, direction).await?;
            let length = from.read(&mut buffer).await?;
            let chunk = buffer[..length].to_vec();
            if length == 0 || sender.send((Instant::now(), chunk)).await.is_err() {
                drop(sender);
                return Ok(());
            }
        }
    };
    let write = async {
        let mut conditions = conditions.clone();
        while let Some((arrived, chunk)) = chunks.recv().await {
            let delay = conditions.borrow().delay;
            if !delay.is_zero() {
                sleep_until(arrived + delay).await;
            }
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                flowing(&mut conditions, direction).await?;
                let rate = conditions.borrow().bytes_per_second;
                // In small slices, so that a slow connection moves evenly.
                let slice = rate.map_or(rest.len(), |rate| (rate as usize / 50).max(1));
                let (now, later) = rest.split_at(slice.min(rest.len()));
                if let Some(rate) = rate {
                    sleep(Duration::from_secs_f64(
                        now.len() as f64 / f64::from(rate.max(1)),
                    ))
                    .await;
                }
                to.write_all(now).await?;
                rest = later;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

/// Waits while the direction is stalled.
async fn flowing(
    conditions: &mut watch::Receiver<Conditions>,
    direction: Direction,
) -> io::Result<()> {
    match conditions.wait_for(|now| !now.stalled(direction)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
