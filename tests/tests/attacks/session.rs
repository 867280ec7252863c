//! Hand-made sessions of either side. All packets of the attacks are built here.

use std::{io, time::Duration};

use nmfw_tests::packets::{self, OPEN, Seal, first_kind, frame, kind, number, secret_of};

use crate::wire::{Message, Peer};

/// Longer than a service takes to answer, and shorter than an attack.
const LIMIT: Duration = Duration::from_secs(1);

/// The flag of a packet that requests resent packets.
const GO_BACK: u8 = 0x11;

/// The flags of a message's frame.
pub(crate) const MORE: u8 = 0x20;
pub(crate) const END: u8 = 0x40;

/// Returns the seal for the sessions of attackers, which all use one secret.
pub(crate) fn seal() -> Seal {
    Seal::client(secret_of(OPEN))
}

/// An attacker's session with the service.
#[derive(Debug)]
pub(crate) struct Session {
    /// The subject for packets to the service.
    pub(crate) service: String,
    /// The subject for packets to the attacker.
    pub(crate) inbox: String,
    seal: Seal,
    seq: u64,
    stream: u64,
}

impl Session {
    /// Opens a session; returns `None` if the service refuses or does not answer.
    pub(crate) fn open(peer: &Peer, base: &str, name: usize) -> io::Result<Option<Self>> {
        let inbox = format!("{}.s.{name}", peer.inbox);
        peer.publish(&format!("{base}._open"), &inbox, OPEN)?;
        while let Some(message) = peer.next(LIMIT)? {
            if message.subject != inbox {
                continue;
            }
            match (first_kind(message.body()), message.reply) {
                (Some(kind::ACCEPT), Some(service)) => {
                    return Ok(Some(Self {
                        service,
                        inbox,
                        seal: seal(),
                        seq: 0,
                        stream: 0,
                    }));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Opens a session, and retries until the attack is over.
    pub(crate) fn opened(peer: &Peer, base: &str) -> io::Result<Option<Self>> {
        let mut name = 0;
        while peer.goes_on() {
            name += 1;
            if let Some(session) = Self::open(peer, base, name)? {
                return Ok(Some(session));
            }
            peer.rest(Duration::from_millis(50))?;
        }
        Ok(None)
    }

    /// Returns the number of a new stream.
    pub(crate) fn stream(&mut self) -> u64 {
        self.stream += 1;
        self.stream
    }

    /// Sends a numbered packet.
    pub(crate) fn send(&mut self, peer: &Peer, ack: u64, frames: &[Vec<u8>]) -> io::Result<()> {
        self.seq += 1;
        let packet = packets::packet(self.seq, ack, frames);
        peer.publish(&self.service, "", &self.seal.seal(packet))
    }

    /// Sends the last numbered packet again.
    pub(crate) fn repeat(&self, peer: &Peer, frames: &[Vec<u8>]) -> io::Result<()> {
        let packet = packets::packet(self.seq, 0, frames);
        peer.publish(&self.service, "", &self.seal.seal(packet))
    }

    /// Sends a packet without a number.
    pub(crate) fn bare(&self, peer: &Peer, ack: u64, frames: &[Vec<u8>]) -> io::Result<()> {
        let packet = packets::packet(0, ack, frames);
        peer.publish(&self.service, "", &self.seal.seal(packet))
    }

    /// Asks the service to resend the packets after `ack`.
    pub(crate) fn go_back(&self, peer: &Peer, ack: u64) -> io::Result<()> {
        let mut packet = packets::packet(0, ack, &[]);
        packet[0] = GO_BACK;
        peer.publish(&self.service, "", &self.seal.seal(packet))
    }

    pub(crate) fn raw(&self, peer: &Peer, packet: &[u8]) -> io::Result<()> {
        peer.publish(&self.service, "", &self.seal.seal(packet))
    }
}

/// Returns the highest `seq` of a packet of the other side.
pub(crate) fn seq_of(packet: &[u8]) -> u64 {
    let mut value = 0;
    for (index, byte) in packet.iter().skip(1).take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Encodes a text: its length, and its bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [number(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// Encodes a CALL with metadata.
pub(crate) fn call_with_metadata(stream: u64, method: &str, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (name, value) in metadata {
        pairs.extend(text(name));
        pairs.extend(text(value));
    }
    let mut body = number(0);
    body.extend(text(method));
    body.extend(number(3));
    body.extend(number(pairs.len() as u64));
    body.extend(pairs);
    frame(stream, kind::CALL, &body)
}

/// Encodes a RESET with CANCELLED.
pub(crate) fn reset(stream: u64) -> Vec<u8> {
    frame(stream, kind::RESET, &[1])
}

/// Encodes the WINDOW of a stream, or of packets for stream 0.
pub(crate) fn window(stream: u64, bytes: u64) -> Vec<u8> {
    frame(stream, 8, &number(bytes))
}

/// Encodes a PING of either side: with a token, which the PING of a service lacks and a client
/// skips.
pub(crate) fn ping() -> Vec<u8> {
    frame(0, kind::PING, &[0; 17])
}

/// Encodes a CLOSE.
pub(crate) fn close() -> Vec<u8> {
    frame(0, kind::CLOSE, &[0])
}

/// A session that a hostile service has accepted.
#[derive(Debug)]
pub(crate) struct Hosted {
    /// The subject for packets to the client.
    pub(crate) inbox: String,
    seal: Seal,
    seq: u64,
}

/// The contents of a hostile service's ACCEPT.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) window: u64,
    pub(crate) stream_window: u64,
    pub(crate) largest_packet: u64,
    pub(crate) largest_message: u64,
    pub(crate) streams: u64,
    pub(crate) instance: String,
    pub(crate) methods: Vec<String>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            window: 64,
            stream_window: 262_144,
            largest_packet: 1_047_552,
            largest_message: 67_108_864,
            streams: 1024,
            instance: "HOSTILE".to_owned(),
            methods: ["Echo", "Count", "Sum", "Chat"].map(str::to_owned).to_vec(),
        }
    }
}

impl Offer {
    fn frame(&self) -> Vec<u8> {
        let names: Vec<u8> = self.methods.iter().flat_map(|name| text(name)).collect();
        let mut body = Vec::new();
        for (id, value) in [
            (1, number(self.window)),
            (2, number(self.stream_window)),
            (3, number(self.largest_packet)),
            (4, number(self.largest_message)),
            (5, number(10_000)),
            (6, number(self.streams)),
            (7, self.instance.clone().into_bytes()),
            (8, names),
        ] {
            body.extend(number(id));
            body.extend(number(value.len() as u64));
            body.extend(value);
        }
        frame(0, kind::ACCEPT, &body)
    }
}

impl Hosted {
    /// Answers OPEN with ACCEPT, with `own` as the service's subject.
    pub(crate) fn accept(
        peer: &Peer,
        open: &Message,
        own: &str,
        offer: &Offer,
    ) -> io::Result<Option<Self>> {
        let Some(inbox) = open.reply.clone() else {
            return Ok(None);
        };
        if first_kind(open.body()) != Some(kind::OPEN) {
            return Ok(None);
        }
        let seal = Seal::service(secret_of(open.body()));
        let accept = seal.seal(packets::packet(0, 0, &[offer.frame()]));
        peer.publish(&inbox, own, &accept)?;
        let seq = 0;
        Ok(Some(Self { inbox, seal, seq }))
    }

    /// Sends a numbered packet.
    pub(crate) fn send(&mut self, peer: &Peer, ack: u64, frames: &[Vec<u8>]) -> io::Result<()> {
        self.seq += 1;
        let packet = packets::packet(self.seq, ack, frames);
        peer.publish(&self.inbox, "", &self.seal.seal(packet))
    }

    /// Sends a packet without a number.
    pub(crate) fn bare(&self, peer: &Peer, ack: u64, frames: &[Vec<u8>]) -> io::Result<()> {
        let packet = packets::packet(0, ack, frames);
        peer.publish(&self.inbox, "", &self.seal.seal(packet))
    }

    /// Asks the client to resend the packets after `ack`.
    pub(crate) fn go_back(&self, peer: &Peer, ack: u64) -> io::Result<()> {
        let mut packet = packets::packet(0, ack, &[]);
        packet[0] = GO_BACK;
        peer.publish(&self.inbox, "", &self.seal.seal(packet))
    }
}
