//! Limits on the memory and the traffic that one client can cause in a service, with a session and
//! the permissions of any client. The only test of its process, because it measures the whole
//! process: the service, the client, and the embedded broker.

use std::time::{Duration, Instant};

use async_nats::Client;
use nmfw_tests::{
    TestBroker,
    broker::{Kind, run},
    eventually, in_own_process,
    packets::{RawSession, first_kind, frame, kind, number, packet},
    streams::{self, CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient},
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(200);
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Limit for the memory of a session, for its peer.
const MOST: u64 = 64;

/// Flags of CALL and MSG.
const NARROW: u8 = 0x20;
const MORE: u8 = 0x20;
const LAST: u8 = 0x40;

/// Returns the resident memory of this process in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096 / (1024 * 1024)
}

/// Encodes a CALL with one value of metadata. Only the first few streams are wide.
fn call(stream: u64, method: &str, (name, value): (&str, &[u8])) -> Vec<u8> {
    let text = |bytes: &[u8]| [number(bytes.len() as u64), bytes.to_vec()].concat();
    let metadata = [text(name.as_bytes()), text(value)].concat();
    let body = [
        number(0),
        text(method.as_bytes()),
        number(3),
        text(&metadata),
    ];
    let flags = if stream > 16 { NARROW } else { 0 };
    frame(stream, kind::CALL | flags, &body.concat())
}

/// An attacker's session, which numbers its packets.
struct Attacker {
    session: RawSession,
    seq: u64,
    sent: usize,
    got: usize,
    /// The service's message at the end of the session.
    last: String,
}

impl Attacker {
    async fn new(client: &Client) -> Self {
        let session = RawSession::open(client, STREAMS_SPEC.base_subject());
        Self {
            session: session.await.unwrap(),
            seq: 0,
            sent: 0,
            got: 0,
            last: String::new(),
        }
    }

    async fn publish(&mut self, packet: Vec<u8>) {
        self.sent += packet.len();
        self.session.send(packet).await.unwrap();
    }

    async fn send(&mut self, frames: &[Vec<u8>]) {
        self.seq += 1;
        let packet = packet(self.seq, 0, frames);
        self.publish(packet).await;
        if self.seq.is_multiple_of(20) {
            self.heard().await;
        }
    }

    /// Waits until the service has processed all packets; `false` if it has ended the session.
    async fn heard(&mut self) -> bool {
        let ping = frame(0, kind::PING, &number(self.seq));
        self.publish(packet(0, 0, &[ping])).await;
        loop {
            let payload = self.session.next().await.unwrap().payload;
            self.got += payload.len();
            if first_kind(&payload) == Some(kind::CLOSE) {
                self.last = String::from_utf8_lossy(&payload).into_owned();
                return false;
            }
            // In a packet without a number, possibly after a PING.
            let is_pong = |frame: &[u8]| frame == [0, kind::PONG];
            if payload.get(1) == Some(&0) && payload.windows(2).any(is_pong) {
                return true;
            }
        }
    }

    /// Returns the text with which the service ends the session. Pings meanwhile, so that its silence is
    /// not the reason.
    async fn closed(&mut self) -> String {
        let ping = packet(0, 0, &[frame(0, kind::PING, &number(0))]);
        let closing = async {
            loop {
                self.publish(ping.clone()).await;
                if let Ok(close) = timeout(PING_INTERVAL, self.session.closed()).await {
                    return close.unwrap();
                }
            }
        };
        let close = timeout(LIMIT, closing)
            .await
            .expect("the service keeps the session");
        String::from_utf8_lossy(&close).into_owned()
    }
}

/// Checks that no attack disturbs other clients.
async fn others_go_on(client: &StreamsClient) {
    let begin = Instant::now();
    for number in 0..20 {
        let item = Item {
            number,
            padding: vec![1; 10_000],
        };
        let answer = client.echo(item).timeout(LIMIT).await.unwrap();
        assert_eq!(answer.number, number);
    }
    let request = CountRequest {
        to: 1000,
        ..CountRequest::default()
    };
    let count = client.count(request).timeout(LIMIT).await.unwrap();
    assert_eq!(streams::Total::of(count).await.unwrap().count, 1000);
    assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
}

/// Begins 1,000 calls with the maximum of metadata, and without messages.
async fn heads(attacker: &mut Attacker) {
    let metadata = vec![b'x'; 64 * 1024 - 100];
    for stream in 1..=1000 {
        let call = call(stream, "Echo", ("a", &metadata));
        attacker.send(&[call]).await;
    }
    assert!(attacker.heard().await);
}

/// Opens the maximum of streams, each with as much of a message as there is credit for.
async fn unfinished(attacker: &mut Attacker) {
    for stream in 1..=1000 {
        let call = call(stream, "Echo", ("a", b"b"));
        let len = if stream > 16 { 8192 } else { 256 * 1024 };
        let part = |len| frame(stream, kind::MSG | MORE, &vec![0; len]);
        let mut frames = vec![call];
        for at in (0..len).step_by(64 * 1024) {
            frames.push(part((len - at).min(64 * 1024)));
            let packet = std::mem::take(&mut frames);
            attacker.send(&packet).await;
        }
    }
    assert!(attacker.heard().await);
}

/// Requests 400 MB, and acknowledges nothing.
async fn takes_nothing(attacker: &mut Attacker) {
    for stream in 1..=1000 {
        let call = call(stream, "Echo", ("grow", b"400000"));
        attacker
            .send(&[call, frame(stream, kind::MSG | LAST, b"")])
            .await;
    }
    assert!(attacker.heard().await);
    assert!(attacker.sent < 100_000, "{}", attacker.sent);
}

/// Requests streams of answers, and reads none.
async fn reads_no_stream(attacker: &mut Attacker) {
    // A million items of 10 kB.
    let request = [&[0x10][..], &number(1_000_000), &[0x18], &number(10_000)].concat();
    for stream in 1..=1000 {
        let call = call(stream, "Count", ("a", b"b"));
        attacker
            .send(&[call, frame(stream, kind::MSG | LAST, &request)])
            .await;
    }
    assert!(attacker.heard().await);
}

/// Makes the service hold as much memory as possible, which is freed when the session ends.
async fn kept_memory_has_a_bound(broker: TestBroker) {
    let flows = Flows::default();
    let _running = streams::serve(&broker.url(), &flows).await.unwrap();
    let bystander = streams::client(&broker.url()).await.unwrap();
    others_go_on(&bystander).await;
    let plain = async_nats::connect(broker.url()).await.unwrap();
    for (what, number) in [
        ("heads", 0),
        ("unfinished messages", 1),
        ("answers", 2),
        ("streams", 3),
    ] {
        let before = resident();
        let mut attacker = Attacker::new(&plain).await;
        match number {
            0 => heads(&mut attacker).await,
            1 => unfinished(&mut attacker).await,
            2 => takes_nothing(&mut attacker).await,
            _ => reads_no_stream(&mut attacker).await,
        }
        others_go_on(&bystander).await;
        let after = resident();
        assert!(
            after < before + MOST,
            "{what}: {before} to {after} MiB for {} bytes",
            attacker.sent
        );
        if number == 2 {
            // The service ends the session because no packet was acknowledged.
            let text = attacker.closed().await;
            assert!(text.contains("does not read its responses"), "{text}");
        } else {
            let close = frame(0, kind::CLOSE, &[1]);
            attacker.publish(packet(0, 0, &[close])).await;
        }
        let is_over = || flows.finished() + flows.dropped() == flows.started();
        eventually(LIMIT, || async { is_over() }).await;
    }
    others_go_on(&bystander).await;
}

/// Excessive metadata is refused, or ends its session if its packet is too large.
async fn large_metadata_is_refused(broker: TestBroker) {
    let flows = Flows::default();
    let _running = streams::serve(&broker.url(), &flows).await.unwrap();
    let plain = async_nats::connect(broker.url()).await.unwrap();
    let mut attacker = Attacker::new(&plain).await;
    let metadata = vec![b'x'; 70_000];
    let call_with = |metadata: &[u8]| {
        let message = frame(1, kind::MSG | LAST, b"");
        [call(1, "Echo", ("a", metadata)), message]
    };
    attacker.send(&call_with(&metadata)).await;
    loop {
        let payload = attacker.session.next().await.unwrap().payload;
        if first_kind(&payload) == Some(kind::RESET) {
            let text = String::from_utf8_lossy(&payload).into_owned();
            assert!(text.contains("65536"), "{text}");
            break;
        }
    }
    assert_eq!(flows.started(), 0);
    let mut attacker = Attacker::new(&plain).await;
    attacker.send(&call_with(&vec![b'x'; 900_000])).await;
    let text = attacker.closed().await;
    assert!(text.contains("larger than agreed"), "{text}");
    // An honest caller gets an error at once.
    let client = streams::client(&broker.url()).await.unwrap();
    let call = client.echo(Item::default());
    let values = (0..3).map(|i| (format!("a{i}"), "x".repeat(30_000)));
    let call = values.fold(call, |call, (name, value)| call.metadata(name, value));
    let status = call.timeout(LIMIT).await.unwrap_err();
    assert_eq!(status.code(), nmfw::Code::InvalidArgument, "{status}");
    assert!(
        status.is_not_started() && status.message().contains("64 KiB"),
        "{status}"
    );
}

/// Requests retransmissions repeatedly, at 24 kB/s and at full speed.
async fn going_back_has_a_bound(broker: TestBroker) {
    let flows = Flows::default();
    let _running = streams::serve(&broker.url(), &flows).await.unwrap();
    let bystander = streams::client(&broker.url()).await.unwrap();
    let plain = async_nats::connect(broker.url()).await.unwrap();
    for pause in [Duration::from_millis(10), Duration::ZERO] {
        let mut attacker = Attacker::new(&plain).await;
        let request = [&[0x10][..], &number(1_000_000), &[0x18], &number(10_000)].concat();
        for stream in 1..=8 {
            let call = call(stream, "Count", ("a", b"b"));
            attacker
                .send(&[call, frame(stream, kind::MSG | LAST, &request)])
                .await;
        }
        assert!(attacker.heard().await);
        (attacker.sent, attacker.got) = (0, 0);
        // The flag, seq 0 and ack 0.
        let back = vec![0x11, 0, 0];
        let begin = Instant::now();
        let mut is_closed = false;
        while begin.elapsed() < Duration::from_secs(8) && !is_closed {
            for _ in 0..80 {
                attacker.publish(back.clone()).await;
            }
            tokio::time::sleep(pause).await;
            is_closed = !attacker.heard().await;
        }
        // The data itself, and half as much as the rate allows.
        let most = 20 * attacker.sent + (8 << 20);
        assert!(
            attacker.got < most,
            "{} bytes for {}",
            attacker.got,
            attacker.sent
        );
        others_go_on(&bystander).await;
    }
}

/// Begins calls and resets them at once.
async fn rapid_resets_end_the_session(broker: TestBroker) {
    let flows = Flows::default();
    let _running = streams::serve(&broker.url(), &flows).await.unwrap();
    let bystander = streams::client(&broker.url()).await.unwrap();
    let plain = async_nats::connect(broker.url()).await.unwrap();
    let mut attacker = Attacker::new(&plain).await;
    let mut stream = 0;
    let text = loop {
        let mut frames = Vec::new();
        for _ in 0..500 {
            stream += 1;
            frames.push(call(stream, "Sum", ("a", b"b")));
            frames.push(frame(stream, kind::RESET, &[1]));
        }
        attacker.seq += 1;
        let packet = packet(attacker.seq, 0, &frames);
        attacker.publish(packet).await;
        assert!(stream < 500_000, "the session does not end");
        if attacker.seq.is_multiple_of(10) {
            let is_over = !attacker.heard().await;
            if is_over {
                break attacker.last;
            }
        }
    };
    assert!(text.contains("faster than a session allows"), "{text}");
    let is_over = || flows.finished() + flows.dropped() == flows.started();
    eventually(LIMIT, || async { is_over() }).await;
    others_go_on(&bystander).await;
}

in_own_process! {
    /// A single test, because it measures the whole process.
    async fn the_cost_of_one_client_is_bounded() {
        for kind in Kind::BOTH {
            run("kept_memory", kind, LONG, kept_memory_has_a_bound).await;
            run("large_metadata", kind, LONG, large_metadata_is_refused).await;
            run("going_back", kind, LONG, going_back_has_a_bound).await;
            run("rapid_resets", kind, LONG, rapid_resets_end_the_session).await;
        }
    }
}
