//! One suite for two servers: behaviour of the embedded broker has to match nats-server.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use nmfw::embedded::Broker;
use nmfw_tests::NatsServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of a test's server; 0 is the server's default.
#[derive(Clone, Copy, Default)]
struct Config {
    port: u16,
    max_pending: usize,
}

enum Server {
    Embedded(Option<Broker>),
    Real(NatsServer),
}

impl Server {
    async fn embedded(config: Config) -> Self {
        let mut builder = Broker::builder().port(config.port);
        if config.max_pending > 0 {
            builder = builder.max_pending(config.max_pending);
        }
        Self::Embedded(Some(builder.start().await.unwrap()))
    }

    async fn real(config: Config) -> Self {
        let mut builder = NatsServer::builder();
        if config.port != 0 {
            builder = builder.port(config.port);
        }
        if config.max_pending > 0 {
            builder = builder.config(format!("max_pending: {}", config.max_pending));
        }
        Self::Real(builder.start().await.unwrap())
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Real(_) => "nats-server",
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Embedded(broker) => broker.as_ref().unwrap().port(),
            Self::Real(server) => server.port(),
        }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Stops this server and starts another of the same kind on the same port.
    async fn restart(mut self) -> Self {
        let config = Config {
            port: self.port(),
            ..Config::default()
        };
        if let Self::Embedded(broker) = &mut self {
            broker.take().unwrap().shutdown().await;
            return Self::embedded(config).await;
        }
        drop(self);
        Self::real(config).await
    }

    async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// Opens a raw connection that has sent CONNECT and received its first PONG.
    async fn raw(&self) -> Raw {
        let mut raw = Raw::open(self.port()).await;
        raw.send(format!("CONNECT {PLAIN}\r\nPING\r\n").as_bytes())
            .await;
        raw.expect("PONG\r\n").await;
        raw
    }
}

async fn servers(config: Config) -> Vec<Server> {
    vec![Server::embedded(config).await, Server::real(config).await]
}

/// A connection without a client library.
struct Raw(TcpStream);

impl Raw {
    async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    async fn open(port: u16) -> Self {
        let mut raw = Self::connect(port).await;
        let info = raw.info().await;
        assert_eq!(info["headers"], true);
        assert_eq!(info["max_payload"], 1024 * 1024);
        assert_eq!(info["port"], port);
        raw
    }

    async fn info(&mut self) -> serde_json::Value {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.read(1).await.0);
        }
        serde_json::from_slice(line.strip_prefix(b"INFO ").unwrap()).unwrap()
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn expect(&mut self, text: &str) {
        let (found, _) = self.read(text.len()).await;
        assert_eq!(show(&found), text);
    }

    /// Reads up to `len` bytes, and returns whether the end was reached.
    async fn read(&mut self, len: usize) -> (Vec<u8>, bool) {
        let (mut found, mut at) = (vec![0; len], 0);
        while at < len {
            match timeout(PATIENCE, self.0.read(&mut found[at..])).await {
                Ok(Ok(n)) if n > 0 => at += n,
                Ok(_) => {
                    found.truncate(at);
                    return (found, true);
                }
                Err(_) => panic!("only got {:?}", show(&found[..at])),
            }
        }
        (found, false)
    }

    async fn assert_closed(&mut self, context: &str) {
        let (more, closed) = self.read(1).await;
        assert!(
            closed,
            "{context}: {:?} follows instead of the end",
            show(&more)
        );
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes to send and the bytes to expect. A script that does not end the connection ends with a
/// PING, so that its PONG shows that nothing else follows.
struct Script {
    name: &'static str,
    connect: &'static str,
    sent: String,
    received: String,
    closed: bool,
    torn: bool,
}

const PLAIN: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;

fn stays(name: &'static str, sent: &str, received: &str) -> Script {
    let (sent, received) = (format!("{sent}PING\r\n"), format!("{received}PONG\r\n"));
    Script {
        name,
        connect: PLAIN,
        sent,
        received,
        closed: false,
        torn: true,
    }
}

fn ends(name: &'static str, sent: &str, received: &str) -> Script {
    let (sent, received) = (sent.to_owned(), received.to_owned());
    Script {
        name,
        connect: PLAIN,
        sent,
        received,
        closed: true,
        torn: true,
    }
}

impl Script {
    fn connect(self, connect: &'static str) -> Self {
        Self { connect, ..self }
    }

    /// Sends the bytes in one piece: if the payload comes later, nats-server reads the line again,
    /// and reports an invalid subject twice.
    fn whole(self) -> Self {
        Self {
            torn: false,
            ..self
        }
    }
}

const UNKNOWN: &str = "-ERR 'Unknown Protocol Operation'\r\n";
const LONG: &str = "-ERR 'maximum control line exceeded'\r\n";

/// A "no responders" status as it arrives at `reply` with `sid`.
fn none(reply: &str, sid: &str, subject: &str) -> String {
    let status = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
    format!("HMSG {reply} {sid} {0} {0}\r\n{status}\r\n", status.len())
}

#[rustfmt::skip]
fn scripts() -> Vec<Script> {
    let long = |n: usize| format!("PUB {} 0\r\n\r\n", "a".repeat(n - 2));
    vec![
        stays("publish to oneself", "SUB foo 1\r\nPUB foo 2\r\nhi\r\n", "MSG foo 1 2\r\nhi\r\n"),
        stays("empty payload", "SUB foo 1\r\nPUB foo 0\r\n\r\n", "MSG foo 1 0\r\n\r\n"),
        stays("reply subject", "SUB foo 1\r\nPUB foo bar 2\r\nhi\r\n", "MSG foo 1 bar 2\r\nhi\r\n"),
        stays("lower case", "sub foo 1\r\npub foo 2\r\nhi\r\nping\r\n", "MSG foo 1 2\r\nhi\r\nPONG\r\n"),
        stays("tabs and spaces", "SUB\tfoo\t 1\t\r\nPUB \t foo\t\t2 \r\nhi\r\n", "MSG foo 1 2\r\nhi\r\n"),
        stays("bare line feeds", "SUB foo 1\nPUB foo 2\nhi\r\nPING\n", "MSG foo 1 2\r\nhi\r\nPONG\r\n"),
        stays("any word for an id", "SUB foo a.b\r\nPUB foo 0\r\n\r\n", "MSG foo a.b 0\r\n\r\n"),
        stays("odd bytes in a subject", "SUB f\0ö 1\r\nPUB f\0ö 0\r\n\r\n", "MSG f\0ö 1 0\r\n\r\n"),
        stays("no subscriber", "PUB foo 2\r\nhi\r\n", ""),
        stays("more on the line of a ping", "PING  hello\r\nPINGxx\r\nPONG x\r\n", "PONG\r\nPONG\r\n"),
        stays("operations of servers", "+OK\r\nINFO {}\r\n", ""),
        stays("a second CONNECT resets options", "SUB a 1\r\nCONNECT {}\r\nPUB a 0\r\n\r\nSUB a 1\r\nPUB a 0\r\n\r\n", "MSG a 1 0\r\n\r\n"),

        stays("headers", "SUB a 1\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        stays("headers and reply", "SUB a 1\r\nHPUB a b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG a 1 b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        stays("headers are not parsed", "SUB a 1\r\nHPUB a 2 4\r\nXXhi\r\n", "HMSG a 1 2 4\r\nXXhi\r\n"),
        stays("an HPUB without headers", "SUB a 1\r\nHPUB a 0 2\r\nhi\r\n", "MSG a 1 2\r\nhi\r\n"),
        ends("more headers than message", "HPUB a 14 12\r\nNATS/1.0\r\n\r\nhi\r\n", ""),
        ends("headers not announced", "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "").connect(r#"{"verbose":false}"#),

        stays("star", "SUB a.*.c 1\r\nPUB a.b.c 0\r\n\r\nPUB a.b 0\r\n\r\nPUB a.b.c.d 0\r\n\r\n", "MSG a.b.c 1 0\r\n\r\n"),
        stays("tail", "SUB a.> 1\r\nPUB a.b.c 0\r\n\r\nPUB a 0\r\n\r\n", "MSG a.b.c 1 0\r\n\r\n"),
        stays("everything", "SUB > 1\r\nPUB a.b.c 0\r\n\r\n", "MSG a.b.c 1 0\r\n\r\n"),
        stays("a wildcard is a whole token", "SUB a.b* 1\r\nPUB a.bc 0\r\n\r\nPUB a.b* 0\r\n\r\n", "MSG a.b* 1 0\r\n\r\n"),
        stays("publish to a wildcard", "SUB a.b 1\r\nSUB a.> 2\r\nPUB a.* 0\r\n\r\n", "MSG a.* 2 0\r\n\r\n"),
        stays("empty tokens match nothing", "SUB > 1\r\nPUB a..b 0\r\n\r\nPUB .a 0\r\n\r\nPUB a. 0\r\n\r\n", ""),
        stays("bad subjects", "SUB a..b 1\r\nSUB a. 2\r\nSUB .a 3\r\nSUB >.a 4\r\nSUB a.*.> 5\r\n", &"-ERR 'Invalid Subject'\r\n".repeat(4)),
        stays("an id in use keeps its subscription", "SUB a 1\r\nSUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n", "MSG a 1 0\r\n\r\n"),
        stays("a group on two patterns", "SUB a.* q 1\r\nSUB a.> q 1\r\nPUB a.b 0\r\n\r\n", "MSG a.b 1 0\r\n\r\n"),

        stays("unsubscribe", "SUB a 1\r\nUNSUB 1\r\nPUB a 0\r\n\r\nUNSUB 1\r\n", ""),
        stays("unsubscribe after two", "SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n", "MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n"),
        stays("earlier deliveries count", "SUB a 1\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nUNSUB 1 2\r\nPUB a 1\r\n3\r\n", "MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n"),
        stays("a later count replaces", "SUB a 1\r\nUNSUB 1 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n", "MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n"),
        stays("an id is free after the last", "SUB a 1\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nSUB b 1\r\nPUB b 0\r\n\r\n", "MSG a 1 0\r\n\r\nMSG b 1 0\r\n\r\n"),
        stays("nine digits are a maximum", "SUB a 1\r\nUNSUB 1 999999999\r\nPUB a 0\r\n\r\n", "MSG a 1 0\r\n\r\n"),
        stays("ten digits mean now", "SUB a 1\r\nPUB a 0\r\n\r\nUNSUB 1 9999999999\r\nPUB a 0\r\n\r\n", "MSG a 1 0\r\n\r\n"),
        stays("zero and invalid numbers mean now", "SUB a 1\r\nUNSUB 1 0\r\nSUB a 2\r\nUNSUB 2 x\r\nPUB a 0\r\n\r\n", ""),

        stays("no responders", "SUB in.* 1\r\nPUB nobody in.1 0\r\n\r\n", &none("in.1", "1", "nobody")),
        stays("no responders to HPUB", "SUB in.> 9\r\nHPUB x in.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", &none("in.1", "9", "x")),
        stays("no responders at $JS, $SYS", "SUB in 1\r\nPUB $JS.API.INFO in 0\r\n\r\nPUB $SYS.REQ.SERVER.PING in 0\r\n\r\n",
            &(none("in", "1", "$JS.API.INFO") + &none("in", "1", "$SYS.REQ.SERVER.PING"))),
        stays("not to a queue subscription", "SUB in.* q 1\r\nPUB nobody in.1 0\r\n\r\n", ""),
        stays("not to another inbox", "SUB out.* 1\r\nPUB nobody in.1 0\r\n\r\n", ""),
        stays("not without a reply", "SUB in.* 1\r\nPUB nobody 0\r\n\r\n", ""),
        stays("not counted as a delivery", "SUB in 1\r\nUNSUB 1 1\r\nPUB x in 0\r\n\r\nPUB x in 0\r\n\r\nPUB in 0\r\n\r\nPUB x in 0\r\n\r\n",
            &(none("in", "1", "x").repeat(2) + "MSG in 1 0\r\n\r\n")),
        stays("no responders without the option", "SUB in.* 1\r\nPUB nobody in.1 0\r\n\r\n", "").connect(r#"{"verbose":false,"headers":true}"#),
        stays("without echo, the publisher is no responder", "SUB in 1\r\nSUB a 2\r\nSUB a q 3\r\nPUB a in 0\r\n\r\n", &none("in", "1", "a"))
            .connect(r#"{"verbose":false,"headers":true,"no_responders":true,"echo":false}"#),
        ends("no responders needs headers", "", "-ERR 'no responders requires headers support'\r\n").connect(r#"{"verbose":false,"no_responders":true}"#),

        stays("verbose", "SUB a 1\r\nPUB a 0\r\n\r\nSUB a..b 2\r\nUNSUB 1\r\nUNSUB 7\r\nPONG\r\n",
            "+OK\r\n+OK\r\n+OK\r\nMSG a 1 0\r\n\r\n-ERR 'Invalid Subject'\r\n+OK\r\n+OK\r\n").connect(r#"{"pedantic":false}"#),
        stays("pedantic", "SUB a.> 1\r\nPUB a.* 0\r\n\r\nPUB a..b 0\r\n\r\nPUB a.b* 0\r\n\r\n",
            "-ERR 'Invalid Publish Subject'\r\nMSG a.* 1 0\r\n\r\n-ERR 'Invalid Publish Subject'\r\nMSG a.b* 1 0\r\n\r\n").connect(r#"{"verbose":false}"#).whole(),
        stays("no CONNECT at all", "SUB a.* 1\r\nPUB a.* 0\r\n\r\n", "+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nMSG a.* 1 0\r\n\r\n").connect("").whole(),
        stays("an empty CONNECT", "SUB a 1\r\n", "+OK\r\n+OK\r\n").connect("{}"),
        stays("CONNECT null", "", "+OK\r\n").connect("null"),
        stays("logins are ignored", "", "").connect(r#"{"verbose":false,"user":"a","pass":"b","jwt":"c","nkey":"d","tls_required":true}"#),
        ends("CONNECT without JSON", "", "").connect("{foo"),
        ends("CONNECT with a wrong type", "", "").connect(r#"{"verbose":"yes"}"#),
        ends("CONNECT of a later protocol", "", "-ERR 'invalid client protocol'\r\n").connect(r#"{"verbose":false,"protocol":2}"#),
        ends("CONNECT to an account", "", "-ERR 'Authorization Violation'\r\n").connect(r#"{"verbose":false,"account":"A"}"#),

        ends("garbage", "BOGUS\r\n", UNKNOWN),
        ends("HTTP", "GET / HTTP/1.1\r\n\r\n", UNKNOWN),
        ends("an empty line", "\r\n", UNKNOWN),
        ends("a space first", " PING\r\n", UNKNOWN),
        ends("a message from a client", "MSG foo 1 1\r\na\r\n", UNKNOWN),
        ends("earlier operations are executed", "PING\r\nPUBX a 0\r\n", &format!("PONG\r\n{UNKNOWN}")),
        ends("PUB without arguments", "PUB\r\n", UNKNOWN),
        ends("PUB with one argument", "PUB a\r\n", ""),
        ends("PUB with four arguments", "PUB a b 1 2\r\n", ""),
        ends("PUB with a word for a size", "PUB a b c\r\n", ""),
        ends("PUB with a negative size", "PUB a -1\r\n", ""),
        ends("PUB with ten digits", "PUB a 1000000000\r\n", ""),
        ends("payload too long", "SUB a 1\r\nPUB a 2\r\nabc\r\n", UNKNOWN),
        ends("payload without its line end", "SUB a 1\r\nPUB a 2\r\nab\nPING\r\n", UNKNOWN),
        ends("SUB with one argument", "SUB a\r\n", ""),
        ends("SUB with four arguments", "SUB a q 1 2\r\n", ""),
        ends("UNSUB with three arguments", "UNSUB 1 2 3\r\n", ""),
        ends("-ERR from a client", "-ERR 'foo'\r\n", ""),
        ends("maximum payload", "PUB a 1048577\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        stays("control line of the limit", &long(4096), ""),
        ends("control line over the limit", &long(4097), LONG),
    ]
}

#[tokio::test]
async fn raw_protocol() {
    for server in servers(Config::default()).await {
        for script in scripts() {
            let connect = match script.connect {
                "" => String::new(),
                json => format!("CONNECT {json}\r\n"),
            };
            let sent = format!("{connect}{}", script.sent);
            // In one piece, and split at every byte.
            for piece in [sent.len(), 1] {
                if piece == 1 && (!script.torn || sent.len() > 1000) {
                    continue;
                }
                let context = format!("{}: {} by {piece} bytes", server.kind(), script.name);
                let mut raw = Raw::open(server.port()).await;
                for bytes in sent.as_bytes().chunks(piece) {
                    // The server may already have closed the connection, as expected.
                    let _ = raw.0.write_all(bytes).await;
                }
                let (found, _) = raw.read(script.received.len()).await;
                assert_eq!(show(&found), script.received, "{context}");
                if script.closed {
                    raw.assert_closed(&context).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn headers_are_stripped_for_clients_without_support() {
    for server in servers(Config::default()).await {
        let mut old = Raw::open(server.port()).await;
        old.send(b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPING\r\n")
            .await;
        old.expect("PONG\r\n").await;
        server
            .raw()
            .await
            .send(b"HPUB a re 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
            .await;
        old.expect("MSG a 1 re 2\r\nhi\r\n").await;
    }
}

#[tokio::test]
async fn the_first_pong_of_protocol_one_brings_the_connect_info() {
    for server in servers(Config::default()).await {
        let mut raw = Raw::open(server.port()).await;
        raw.send(b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPING\r\n")
            .await;
        raw.expect("PONG\r\n").await;
        let info = raw.info().await;
        assert_eq!(info["connect_info"], true);
        assert_eq!(info["remote_account"], "$G");
        raw.expect("PONG\r\n").await;
    }
}

#[tokio::test]
async fn every_client_is_pinged_soon_after_connecting() {
    for server in servers(Config::default()).await {
        let start = Instant::now();
        let mut raw = server.raw().await;
        raw.expect("PING\r\n").await;
        let after = start.elapsed();
        assert!(
            after > Duration::from_millis(1900) && after < Duration::from_secs(4),
            "{after:?}"
        );
        raw.send(b"PONG\r\nPING\r\n").await;
        raw.expect("PONG\r\n").await;
    }
}

#[tokio::test]
async fn a_large_payload_arrives_whole_and_a_larger_one_not_at_all() {
    for server in servers(Config::default()).await {
        let client = server.client().await;
        let mut sub = client.subscribe("big").await.unwrap();
        let body: Vec<u8> = (0..1024 * 1024_u32).map(|i| (i * 31 % 251) as u8).collect();
        client.publish("big", body.clone().into()).await.unwrap();
        let got = timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
        assert!(got.payload == body, "{}", server.kind());

        let mut raw = server.raw().await;
        raw.send(b"HPUB big 12 1048577\r\nNATS/1.0\r\n\r\n").await;
        raw.expect("-ERR 'Maximum Payload Violation'\r\n").await;
        raw.assert_closed(server.kind()).await;
    }
}

#[tokio::test]
async fn a_queue_group_shares_its_messages() {
    for server in servers(Config::default()).await {
        let mut members = Vec::new();
        // One group over two patterns is still one group.
        for pattern in ["work.*", "work.>", "work.*", "work.>"] {
            let client = server.client().await;
            let sub = client
                .queue_subscribe(pattern, "group".into())
                .await
                .unwrap();
            fence(&client).await;
            members.push((client, sub));
        }
        let publisher = server.client().await;
        let mut watcher = publisher.subscribe("work.one").await.unwrap();
        for i in 0..400 {
            publisher
                .publish("work.one", i.to_string().into())
                .await
                .unwrap();
        }
        fence(&publisher).await;
        let mut seen = BTreeMap::new();
        for (client, sub) in &mut members {
            fence(client).await;
            let mut count = 0;
            while let Ok(Some(msg)) = timeout(Duration::from_millis(20), sub.next()).await {
                *seen.entry(msg.payload).or_insert(0) += 1;
                count += 1;
            }
            // 100 are expected; 40 is off by seven standard deviations.
            assert!(
                (40..=160).contains(&count),
                "{}: {count} of 400",
                server.kind()
            );
        }
        assert_eq!(seen.len(), 400);
        assert!(seen.values().all(|n| *n == 1));
        for i in 0..400 {
            let msg = timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
            assert_eq!(msg.payload, i.to_string().as_bytes(), "in order");
        }
    }
}

#[tokio::test]
async fn requests_are_answered_and_unanswerable_ones_too() {
    for server in servers(Config::default()).await {
        let service = server.client().await;
        let mut sub = service.queue_subscribe("echo", "q".into()).await.unwrap();
        fence(&service).await;
        let answering = tokio::spawn(async move {
            while let Some(msg) = sub.next().await {
                let (reply, headers) = (msg.reply.unwrap(), msg.headers.unwrap_or_default());
                service
                    .publish_with_headers(reply, headers, msg.payload)
                    .await
                    .unwrap();
            }
        });
        let client = server.client().await;
        join_all((0..200).map(|i| {
            let client = client.clone();
            async move {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("N", i.to_string().as_str());
                let text = format!("call {i}");
                let call =
                    client.request_with_headers("echo", headers.clone(), text.clone().into());
                let reply = timeout(PATIENCE, call).await.unwrap().unwrap();
                assert_eq!(reply.payload, text.as_bytes());
                assert_eq!(reply.headers, Some(headers));
            }
        }))
        .await;

        // A request without an answer would time out.
        let error = client.request("nobody", "".into()).await.unwrap_err();
        assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
        answering.abort();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_without_affecting_others() {
    for server in servers(Config {
        max_pending: 1024 * 1024,
        ..Config::default()
    })
    .await
    {
        let mut stuck = server.raw().await;
        stuck.send(b"SUB flood 1\r\nPING\r\n").await;
        stuck.expect("PONG\r\n").await;
        let healthy = server.client().await;
        let mut sub = healthy.subscribe("flood").await.unwrap();
        fence(&healthy).await;
        let publisher = server.client().await;
        let body = vec![b'x'; 64 * 1024];
        for _ in 0..300 {
            publisher
                .publish("flood", body.clone().into())
                .await
                .unwrap();
            // At the pace of one reader, so that only the other falls behind.
            let msg = timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
            assert_eq!(msg.payload.len(), body.len());
        }
        // The kernel's buffers hold a few of the 19 MB, after which the connection ends.
        let (got, closed) = stuck.read(300 * body.len()).await;
        assert!(closed, "{}: the client received everything", server.kind());
        assert!(got.len() < 200 * body.len());
    }
}

#[tokio::test]
async fn a_restart_on_the_same_port_is_survived() {
    for mut server in servers(Config::default()).await {
        let client = async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(server.url())
            .await
            .unwrap();
        let mut sub = client.subscribe("again").await.unwrap();
        for round in 0..3 {
            fence(&client).await;
            client
                .publish("again", round.to_string().into())
                .await
                .unwrap();
            let msg = timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
            assert_eq!(msg.payload, round.to_string().as_bytes());

            let before = client.statistics().connects.load(Ordering::Relaxed);
            server = server.restart().await;
            let start = Instant::now();
            while client.statistics().connects.load(Ordering::Relaxed) == before {
                assert!(
                    start.elapsed() < PATIENCE,
                    "{}: no reconnection",
                    server.kind()
                );
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn many_subscriptions_come_and_go() {
    for server in servers(Config::default()).await {
        let mut raw = server.raw().await;
        let mut lines = String::new();
        for i in 0..5000 {
            let shape = ["a.{}", "a.*.{}", "a.{}.>", "*.b.{}.*"][i % 4];
            lines += &format!("SUB {} {i}\r\n", shape.replace("{}", &format!("s{i}")));
        }
        raw.send(lines.as_bytes()).await;
        raw.send(b"PUB a.s4000 0\r\n\r\nPUB a.x.s4001 0\r\n\r\nPUB a.s4002.y.z 0\r\n\r\n")
            .await;
        raw.send(b"PUB q.b.s4003.y 0\r\n\r\n").await;
        raw.expect("MSG a.s4000 4000 0\r\n\r\nMSG a.x.s4001 4001 0\r\n\r\n")
            .await;
        raw.expect("MSG a.s4002.y.z 4002 0\r\n\r\nMSG q.b.s4003.y 4003 0\r\n\r\n")
            .await;
        drop(raw);
        // No subscriber is left, so a request fails at once; the server may need a moment to
        // notice.
        let client = server.client().await;
        let start = Instant::now();
        loop {
            match timeout(
                Duration::from_millis(100),
                client.request("a.s4000", "".into()),
            )
            .await
            {
                Ok(Err(e)) if e.kind() == async_nats::RequestErrorKind::NoResponders => break,
                _ => assert!(start.elapsed() < PATIENCE, "{}", server.kind()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maximum_is_exact_under_many_publishers() {
    for server in servers(Config::default()).await {
        let mut sub = server.raw().await;
        sub.send(b"SUB a 7\r\nUNSUB 7 1500\r\nSUB end 8\r\nPING\r\n")
            .await;
        sub.expect("PONG\r\n").await;
        let port = server.port();
        let publishers = (0..4).map(|_| {
            tokio::spawn(async move {
                let mut raw = Raw::open(port).await;
                raw.send(format!("CONNECT {PLAIN}\r\n").as_bytes()).await;
                for _ in 0..100 {
                    raw.send("PUB a 0\r\n\r\n".repeat(10).as_bytes()).await;
                }
                raw.send(b"PING\r\n").await;
                raw.expect("PONG\r\n").await;
            })
        });
        for publisher in join_all(publishers).await {
            publisher.unwrap();
        }
        server.raw().await.send(b"PUB end 0\r\n\r\n").await;
        sub.expect(&("MSG a 7 0\r\n\r\n".repeat(1500) + "MSG end 8 0\r\n\r\n"))
            .await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_and_a_dropped_broker_is_gone() {
    let broker = Broker::start().await.unwrap();
    let port = broker.port();
    let error = Broker::builder().port(port).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);

    let mut raw = Raw::connect(port).await;
    let info = raw.info().await;
    drop(broker);
    raw.assert_closed("dropped").await;
    // The port may belong to the broker of another test by now.
    if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
        assert_ne!(Raw(stream).info().await["server_id"], info["server_id"]);
    }
}

#[tokio::test]
async fn a_shutdown_delivers_buffered_output_and_does_not_wait_for_stuck_clients() {
    let broker = Broker::start().await.unwrap();
    let (mut reader, mut stuck) = (
        Raw::open(broker.port()).await,
        Raw::open(broker.port()).await,
    );
    let body = "x".repeat(100_000);
    let message = format!("PUB a {}\r\n{body}\r\n", body.len());
    for raw in [&mut reader, &mut stuck] {
        raw.send(format!("CONNECT {PLAIN}\r\nSUB a 1\r\nPING\r\n").as_bytes())
            .await;
        raw.expect("PONG\r\n").await;
    }
    let mut publisher = Raw::open(broker.port()).await;
    publisher
        .send(format!("CONNECT {PLAIN}\r\n").as_bytes())
        .await;
    publisher.send(message.repeat(200).as_bytes()).await;
    publisher.send(b"PING\r\n").await;
    publisher.expect("PONG\r\n").await;

    let reading = tokio::spawn(async move { reader.read(usize::pow(10, 8)).await });
    let start = Instant::now();
    broker.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(4));
    let (got, closed) = reading.await.unwrap();
    assert!(closed);
    assert_eq!(
        got.len(),
        200 * (message.len() + "MSG a 1 100000".len() - "PUB a 100000".len())
    );
    drop(stuck);
}

/// Makes a round trip, after which earlier requests of this connection are in effect.
async fn fence(client: &async_nats::Client) {
    let inbox = client.new_inbox();
    let mut sub = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
}
