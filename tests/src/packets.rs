//! Packets of sessions, written and read by hand: for peers that do what no honest one would.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The types of frames that tests name.
pub mod kind {
    /// Opens a session.
    pub const OPEN: u8 = 1;
    /// The service's answer to it.
    pub const ACCEPT: u8 = 2;
    /// Begins a stream.
    pub const CALL: u8 = 3;
    /// A message.
    pub const MSG: u8 = 4;
    /// Ends a stream at once.
    pub const RESET: u8 = 7;
    /// Asks for a sign of life.
    pub const PING: u8 = 9;
    /// Its answer.
    pub const PONG: u8 = 10;
    /// Ends a session.
    pub const CLOSE: u8 = 12;
}

/// OPEN as it stands in the protocol's examples: windows of 64 packets and of 256 KiB.
pub const OPEN: &[u8] = &[
    0x10, 0, 0, 0, 1, 0x17, 1, 1, 0x40, 2, 3, 0x80, 0x80, 0x10, 3, 3, 0x80, 0xf8, 0x3f, 4, 4, 0x80,
    0x80, 0x80, 0x20, 5, 2, 0x90, 0x4e,
];

/// A number in groups of seven bits.
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

/// A frame; the type with its flags.
#[must_use]
pub fn frame(stream: u64, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = number(stream);
    out.push(kind);
    out.extend(number(body.len() as u64));
    out.extend(body);
    out
}

/// A packet of these frames.
#[must_use]
pub fn packet(seq: u64, ack: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0x10];
    out.extend(number(seq));
    out.extend(number(ack));
    out.extend(frames.concat());
    out
}

/// CALL of a method, with its own time-out.
#[must_use]
pub fn call(stream: u64, method: &str) -> Vec<u8> {
    let mut body = number(0);
    body.extend(number(method.len() as u64));
    body.extend(method.as_bytes());
    frame(stream, kind::CALL, &body)
}

/// The type of the first frame of a packet; `None` if it has none.
#[must_use]
pub fn first_kind(packet: &[u8]) -> Option<u8> {
    let mut rest = packet.iter().skip(1);
    for _ in 0..3 {
        while rest.next()? & 0x80 != 0 {}
    }
    rest.next().map(|kind| kind & 0x1f)
}

/// A client of sessions that does nothing by itself.
#[derive(Debug)]
pub struct RawSession {
    client: Client,
    packets: Subscriber,
    /// Where the service takes the session's packets.
    pub service: String,
}

impl RawSession {
    /// Opens a session with the service at `base`.
    ///
    /// # Errors
    ///
    /// That there is no ACCEPT.
    pub async fn open(client: &Client, base: &str) -> Result<Self, Failure> {
        let inbox = client.new_inbox();
        let packets = client.subscribe(inbox.clone()).await.doing("subscribe")?;
        let open = format!("{base}._open");
        let sent = client.publish_with_reply(open, inbox, OPEN.into()).await;
        sent.doing("send OPEN")?;
        let mut session = Self {
            client: client.clone(),
            packets,
            service: String::new(),
        };
        let accept = session.next().await?;
        match accept.reply {
            Some(reply) if first_kind(&accept.payload) == Some(kind::ACCEPT) => {
                session.service = reply.into_string();
                Ok(session)
            }
            _ => Err(Failure::new(format!("{accept:?} and not ACCEPT"))),
        }
    }

    /// Sends anything.
    ///
    /// # Errors
    ///
    /// That the connection is closed.
    pub async fn send(&self, packet: impl Into<Vec<u8>>) -> Result<(), Failure> {
        let packet = packet.into().into();
        let sent = self.client.publish(self.service.clone(), packet).await;
        sent.doing("send a packet")
    }

    /// The next packet of the service.
    ///
    /// # Errors
    ///
    /// That none comes.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        let next = timeout(LIMIT, self.packets.next()).await;
        let next = next.doing("wait for a packet")?;
        next.ok_or_else(|| Failure::new("the subscription has ended"))
    }

    /// Waits until the service ends the session, and gives what it says.
    ///
    /// # Errors
    ///
    /// That it does not.
    pub async fn closed(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let message = self.next().await?;
            if first_kind(&message.payload) == Some(kind::CLOSE) {
                return Ok(message.payload.into());
            }
        }
    }
}
