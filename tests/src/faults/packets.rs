//! Packets of sessions, encoded and decoded by hand, for peers that break the rules.

use std::{fmt, time::Duration};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use highway::{HighwayHash, HighwayHasher, Key};
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The types of frames used in tests.
pub mod kind {
    /// Opens a session.
    pub const OPEN: u8 = 1;
    /// The service's answer to OPEN.
    pub const ACCEPT: u8 = 2;
    /// Begins a stream.
    pub const CALL: u8 = 3;
    /// A message.
    pub const MSG: u8 = 4;
    /// Ends a stream at once.
    pub const RESET: u8 = 7;
    /// Requests a sign of life.
    pub const PING: u8 = 9;
    /// The answer to PING.
    pub const PONG: u8 = 10;
    /// Ends a session.
    pub const CLOSE: u8 = 12;
}

/// The OPEN of the protocol's examples: windows of 64 packets and of 256 KiB.
pub const OPEN: &[u8] = &[
    0x10, 0, 0, 0, 1, 0x29, 1, 1, 0x40, 2, 3, 0x80, 0x80, 0x10, 3, 3, 0x80, 0xf8, 0x3f, 4, 4, 0x80,
    0x80, 0x80, 0x20, 5, 2, 0x90, 0x4e, 11, 16, b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7',
    b'8', b'9', b'a', b'b', b'c', b'd', b'e', b'f',
];

/// The offer in OPEN, without the secret.
pub const OFFER: &[u8] = OPEN.split_at(OPEN.len() - 18).0.split_at(6).1;

/// Returns the secret, which is the last field of an OPEN.
#[must_use]
pub fn secret_of(open: &[u8]) -> [u8; 16] {
    open.last_chunk().copied().unwrap_or_default()
}

/// Seals the packets of one side.
#[derive(Clone)]
pub struct Seal(HighwayHasher);

impl Seal {
    /// Creates the seal of the client in a session with this secret.
    #[must_use]
    pub fn client(secret: [u8; 16]) -> Self {
        Self::of(secret, b"nmfw client")
    }

    /// Creates the seal of the service.
    #[must_use]
    pub fn service(secret: [u8; 16]) -> Self {
        Self::of(secret, b"nmfw service")
    }

    fn of(secret: [u8; 16], direction: &[u8]) -> Self {
        let [mut low, mut high] = [[0; 8]; 2];
        low.copy_from_slice(&secret[..8]);
        high.copy_from_slice(&secret[8..]);
        let secret = [u64::from_le_bytes(low), u64::from_le_bytes(high), 0, 0];
        let key = HighwayHasher::new(Key(secret)).hash256(direction);
        Self(HighwayHasher::new(Key(key)))
    }

    /// Appends the proof to a packet.
    #[must_use]
    pub fn seal(&self, packet: impl Into<Vec<u8>>) -> Vec<u8> {
        let mut packet = packet.into();
        let proof = self.0.clone().hash64(&packet);
        packet.extend(proof.to_le_bytes());
        packet
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// Encodes a number in groups of seven bits.
#[must_use]
pub fn number(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

/// Encodes a frame; `kind` includes the flags.
#[must_use]
pub fn frame(stream: u64, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = number(stream);
    out.push(kind);
    out.extend(number(body.len() as u64));
    out.extend(body);
    out
}

/// Encodes a packet with these frames.
#[must_use]
pub fn packet(seq: u64, ack: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0x10];
    out.extend(number(seq));
    out.extend(number(ack));
    out.extend(frames.concat());
    out
}

/// Encodes the CALL of a method, with the method's own timeout.
#[must_use]
pub fn call(stream: u64, method: &str) -> Vec<u8> {
    let mut body = number(0);
    body.extend(number(method.len() as u64));
    body.extend(method.as_bytes());
    frame(stream, kind::CALL, &body)
}

/// Returns the type of the first frame of a packet; `None` if it has none.
#[must_use]
pub fn first_kind(packet: &[u8]) -> Option<u8> {
    let mut rest = packet.iter().skip(1);
    for _ in 0..3 {
        while rest.next()? & 0x80 != 0 {}
    }
    rest.next().map(|kind| kind & 0x1f)
}

/// A client of sessions that sends nothing by itself.
#[derive(Debug)]
pub struct RawSession {
    client: Client,
    packets: Subscriber,
    seal: Seal,
    /// The service's subject for packets of the session.
    pub service: String,
}

impl RawSession {
    /// Opens a session with the service at `base`.
    ///
    /// # Errors
    ///
    /// Fails if no ACCEPT arrives.
    pub async fn open(client: &Client, base: &str) -> Result<Self, Failure> {
        let inbox = client.new_inbox();
        let packets = client.subscribe(inbox.clone()).await.doing("subscribe")?;
        let open = format!("{base}._open");
        let sent = client.publish_with_reply(open, inbox, OPEN.into()).await;
        sent.doing("send OPEN")?;
        let mut session = Self {
            client: client.clone(),
            packets,
            seal: Seal::client(secret_of(OPEN)),
            service: String::new(),
        };
        let accept = session.next().await?;
        match accept.reply {
            Some(reply) if first_kind(&accept.payload) == Some(kind::ACCEPT) => {
                session.service = reply.into_string();
                Ok(session)
            }
            _ => Err(Failure::new(format!("{accept:?} instead of ACCEPT"))),
        }
    }

    /// Sends a packet with its proof.
    ///
    /// # Errors
    ///
    /// Fails if the connection is closed.
    pub async fn send(&self, packet: impl Into<Vec<u8>>) -> Result<(), Failure> {
        let packet = self.seal.seal(packet).into();
        let sent = self.client.publish(self.service.clone(), packet).await;
        sent.doing("send a packet")
    }

    /// Returns the next packet of the service.
    ///
    /// # Errors
    ///
    /// Fails if none arrives.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        let next = timeout(LIMIT, self.packets.next()).await;
        let next = next.doing("wait for a packet")?;
        next.ok_or_else(|| Failure::new("the subscription has ended"))
    }

    /// Waits until the service ends the session, and returns the body of its CLOSE.
    ///
    /// # Errors
    ///
    /// Fails if the session does not end.
    pub async fn closed(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let message = self.next().await?;
            if first_kind(&message.payload) == Some(kind::CLOSE) {
                return Ok(message.payload.into());
            }
        }
    }
}
