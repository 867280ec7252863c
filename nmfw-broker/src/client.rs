//! One client connection: reads operations, executes them, answers.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::parser::{Limits, Op, ParseError, Publish, Step, parse};
use crate::router::{Batch, Client, Router};
use crate::settings::Settings;
use crate::sublist::is_literal;

/// The nats-server release whose behaviour the broker follows; clients enable features by it.
const VERSION: &str = "2.15.1";

/// Initial size of the read buffer, small because idle clients should cost little.
const READ_MIN: usize = 4 * 1024;
const READ_MAX: usize = 64 * 1024;

/// A read buffer that has grown beyond this is freed.
const KEEP: usize = 256 * 1024;

/// Delay from CONNECT to the first PING.
const FIRST_PING: Duration = Duration::from_secs(2);

/// Maximum number of unanswered PINGs.
const MAX_PINGS_OUT: u32 = 2;

/// How long a publisher's read loop waits for a receiver that is close to its pending limit.
/// nats-server stalls fast publishers for the same time.
const STALL: Duration = Duration::from_millis(10);

/// State shared by all connections of a broker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) addr: SocketAddr,
    pub(crate) server_id: String,
    pub(crate) router: Router,
    pub(crate) shutdown: CancellationToken,
}

/// The options of a CONNECT that matter here. A missing option keeps its value.
#[derive(Debug, Default, Deserialize)]
struct ConnectOptions {
    verbose: Option<bool>,
    pedantic: Option<bool>,
    echo: Option<bool>,
    headers: Option<bool>,
    no_responders: Option<bool>,
    protocol: Option<i64>,
    account: Option<String>,
    new_account: Option<bool>,
}

/// The reason for which the broker closes a connection.
enum Close {
    /// Sends this error text first.
    Error(&'static str),
    /// Sends nothing.
    Silent,
}

impl From<ParseError> for Close {
    fn from(error: ParseError) -> Self {
        tracing::debug!(%error, "protocol violation");
        error.wire_text().map_or(Self::Silent, Self::Error)
    }
}

/// Serves one client until it disconnects, violates the protocol, or the broker shuts down.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, id: u64) {
    // Messages are already coalesced here; Nagle's algorithm would only add delay.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let client = Arc::new(Client::new(shared.settings.max_pending));
    let mut connection = Connection {
        shared: Arc::clone(&shared),
        client: Arc::clone(&client),
        peer,
        id,
        batch: Batch::default(),
        limits: Limits {
            max_payload: shared.settings.max_payload,
            headers: false,
        },
        verbose: true,
        pedantic: true,
        no_responders: false,
        protocol: 0,
        connected: false,
        ponged: false,
        first_ping: false,
        pings_out: 0,
        next_ping: Instant::now() + shared.settings.ping_interval,
        last_input: Instant::now(),
    };
    let reading = async {
        connection.run(read).await;
        client.outbox.close();
    };
    let writing = client
        .outbox
        .write_to(write, shared.settings.write_deadline);
    tokio::select! {
        () = client.outbox.was_cut() => tracing::debug!(id, "disconnected a client"),
        _ = async { tokio::join!(reading, writing) } => {}
    }
}

struct Connection {
    shared: Arc<Shared>,
    client: Arc<Client>,
    peer: SocketAddr,
    id: u64,
    batch: Batch,
    limits: Limits,
    // Initially true, as in nats-server, for users of telnet. CONNECT can change it.
    verbose: bool,
    pedantic: bool,
    no_responders: bool,
    protocol: i64,
    connected: bool,
    /// Whether the first PING was answered.
    ponged: bool,
    /// Whether the next PING is the first one, which is also sent to busy clients.
    first_ping: bool,
    pings_out: u32,
    next_ping: Instant,
    /// Time of the client's last operation other than PONG.
    last_input: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The client must not receive anything after its connection has ended, even by a panic.
        self.client.outbox.cut();
        self.shared.router.forget(&self.client);
    }
}

impl Connection {
    async fn run(&mut self, mut read: OwnedReadHalf) {
        self.say_info(false);
        self.batch.finish();
        let shutdown = self.shared.shutdown.clone();
        let shutdown = shutdown.cancelled();
        let ping = sleep_until(self.next_ping);
        tokio::pin!(shutdown, ping);
        let mut buf = BytesMut::new();
        let (mut need, mut chunk) = (1_usize, READ_MIN);
        loop {
            buf.reserve(chunk.max(need.saturating_sub(buf.len())));
            tokio::select! {
                read = read.read_buf(&mut buf) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) if n >= chunk => chunk = (chunk * 2).min(READ_MAX),
                    Ok(_) => {}
                },
                () = &mut ping => {
                    if !self.ping() {
                        return;
                    }
                    ping.as_mut().reset(self.next_ping);
                    continue;
                }
                () = &mut shutdown => return,
            }
            if buf.len() < need {
                continue;
            }
            let outcome = self.consume(&mut buf);
            let crowded = self.batch.finish();
            match outcome {
                Ok(n) => need = n,
                Err(close) => {
                    if let Close::Error(text) = close {
                        self.say_error(text);
                        self.batch.finish();
                    }
                    return;
                }
            }
            if buf.is_empty() && buf.capacity() > KEEP {
                buf = BytesMut::new();
            }
            if self.next_ping < ping.deadline() {
                ping.as_mut().reset(self.next_ping);
            }
            if let Some(slow) = crowded {
                slow.outbox.wait_drained(STALL).await;
            }
        }
    }

    /// Executes the complete operations in `buf`; returns the buffer size needed to continue.
    fn consume(&mut self, buf: &mut BytesMut) -> Result<usize, Close> {
        let (mut at, mut active) = (0, false);
        let need = loop {
            match parse(buf.get(at..).unwrap_or_default(), &self.limits)? {
                Step::Op(op, len) => {
                    self.execute(&op)?;
                    active |= op != Op::Pong;
                    at += len;
                }
                Step::Need(n) => break n,
            }
            if at == buf.len() {
                break 1;
            }
        };
        buf.advance(at);
        if active {
            self.last_input = Instant::now();
        }
        Ok(need)
    }

    fn execute(&mut self, op: &Op<'_>) -> Result<(), Close> {
        match *op {
            Op::Publish(ref msg) => self.publish(msg),
            Op::Subscribe {
                subject,
                queue,
                sid,
            } => {
                match self
                    .shared
                    .router
                    .subscribe(&self.client, subject, queue, sid)
                {
                    Ok(()) => self.say_ok(),
                    Err(_) => self.say_error("Invalid Subject"),
                }
            }
            Op::Unsubscribe { sid, max } => {
                self.shared.router.unsubscribe(&self.client, sid, max);
                self.say_ok();
            }
            Op::Ping => {
                self.say(b"PONG\r\n");
                // Clients of protocol 1 expect INFO here, with their account.
                if self.connected && !self.ponged {
                    self.ponged = true;
                    if self.protocol >= 1 {
                        self.say_info(true);
                    }
                }
            }
            Op::Pong => self.pings_out = 0,
            Op::Connect(json) => self.connect(json)?,
            Op::Ignored => {}
        }
        Ok(())
    }

    fn publish(&mut self, msg: &Publish<'_>) {
        if self.pedantic && !is_literal(msg.subject) {
            // A warning only: the message is delivered anyway.
            self.say_error("Invalid Publish Subject");
        }
        self.say_ok();
        let delivered = self
            .shared
            .router
            .publish(&self.client, msg, &mut self.batch);
        if !delivered && self.no_responders && msg.reply.is_some() {
            self.shared
                .router
                .no_responders(&self.client, msg, &mut self.batch);
        }
    }

    fn connect(&mut self, json: &[u8]) -> Result<(), Close> {
        // `null` has no effect, as in Go.
        let options: Option<ConnectOptions> =
            serde_json::from_slice(json).map_err(|_| Close::Silent)?;
        let options = options.unwrap_or_default();
        if self.connected {
            self.shared.router.forget(&self.client);
        } else {
            self.connected = true;
            self.first_ping = true;
            self.next_ping = Instant::now() + FIRST_PING.min(self.shared.settings.ping_interval);
        }
        if options.new_account == Some(true) || options.account.is_some_and(|a| !a.is_empty()) {
            return Err(Close::Error("Authorization Violation"));
        }
        let set = |current: &mut bool, new: Option<bool>| *current = new.unwrap_or(*current);
        set(&mut self.verbose, options.verbose);
        set(&mut self.pedantic, options.pedantic);
        set(&mut self.no_responders, options.no_responders);
        set(&mut self.limits.headers, options.headers);
        self.client
            .headers
            .store(self.limits.headers, Ordering::Relaxed);
        if let Some(echo) = options.echo {
            self.client.echo.store(echo, Ordering::Relaxed);
        }
        self.protocol = options.protocol.unwrap_or(self.protocol);
        if !matches!(self.protocol, 0 | 1) {
            return Err(Close::Error("invalid client protocol"));
        }
        if self.no_responders && !self.limits.headers {
            return Err(Close::Error("no responders requires headers support"));
        }
        self.say_ok();
        Ok(())
    }

    /// Pings an idle client. Returns false if it left too many PINGs unanswered.
    fn ping(&mut self) -> bool {
        let now = Instant::now();
        let interval = self.shared.settings.ping_interval;
        self.next_ping = now + interval;
        let idle = now.duration_since(self.last_input) >= interval;
        if !mem::take(&mut self.first_ping) && !idle {
            return true;
        }
        if self.pings_out >= MAX_PINGS_OUT {
            self.say_error("Stale Connection");
            self.batch.finish();
            return false;
        }
        self.pings_out += 1;
        self.say(b"PING\r\n");
        self.batch.finish();
        true
    }

    fn say(&mut self, text: &[u8]) {
        self.batch.put(&self.client, &[text]);
    }

    fn say_ok(&mut self) {
        if self.verbose {
            self.say(b"+OK\r\n");
        }
    }

    fn say_error(&mut self, text: &str) {
        self.batch
            .put(&self.client, &[b"-ERR '", text.as_bytes(), b"'\r\n"]);
    }

    fn say_info(&mut self, connected: bool) {
        let shared = &self.shared;
        let mut info = json!({
            "server_id": shared.server_id,
            "server_name": shared.server_id,
            "version": VERSION,
            "proto": 1,
            "go": "nmfw embedded broker",
            "host": shared.addr.ip().to_string(),
            "port": shared.addr.port(),
            "headers": true,
            "max_payload": shared.settings.max_payload,
            "client_id": self.id,
            "client_ip": self.peer.ip().to_string(),
        });
        if connected && let Some(info) = info.as_object_mut() {
            info.insert("connect_info".into(), true.into());
            info.insert("remote_account".into(), "$G".into());
        }
        self.batch.put(
            &self.client,
            &[b"INFO ", info.to_string().as_bytes(), b" \r\n"],
        );
    }
}
