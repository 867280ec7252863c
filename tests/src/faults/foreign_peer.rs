//! Peers without nmfw: a plain NATS client, and a raw socket.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, Message};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};
use crate::puppet::PUPPET_SPEC;

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns the subject of a method of the puppet.
#[must_use]
pub fn subject(method: &str) -> String {
    format!("{}.{method}", PUPPET_SPEC.base_subject())
}

/// Creates headers from pairs; a name can be repeated.
///
/// # Panics
///
/// Panics if async-nats rejects a name or value.
#[must_use]
pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        match name.parse::<HeaderName>() {
            Ok(name) => map.append(name, *value),
            Err(error) => panic!("header {name:?}: {error}"),
        }
    }
    map
}

/// Sends a request to a method of the puppet with a plain client, and returns the reply.
///
/// # Errors
///
/// Fails if no reply arrives.
pub async fn request(
    client: &async_nats::Client,
    method: &str,
    headers: HeaderMap,
    body: impl Into<Vec<u8>>,
) -> Result<Message, Failure> {
    let body = body.into().into();
    let reply = client.request_with_headers(subject(method), headers, body);
    timeout(LIMIT, reply)
        .await
        .doing("await the reply")?
        .doing(format_args!("request {method}"))
}

/// Returns the status headers of a reply: `Nmfw-Status`, empty for a success, and the error's text.
#[must_use]
pub fn status_of(reply: &Message) -> (&str, &str) {
    let header = |name: &str| {
        let headers = reply.headers.as_ref();
        headers
            .and_then(|headers| headers.get(name))
            .map_or("", |value| value.as_str())
    };
    (header("Nmfw-Status"), header("Nats-Service-Error"))
}

/// Encodes a message of the puppet.
#[must_use]
pub fn bytes(message: &impl nmfw::prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// A connection that can send any bytes.
#[derive(Debug)]
pub struct RawPeer {
    stream: BufReader<TcpStream>,
}

impl RawPeer {
    /// Connects and logs in.
    ///
    /// # Errors
    ///
    /// Fails if the broker does not answer.
    pub async fn connect(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .doing("connect")?;
        let mut peer = Self {
            stream: BufReader::new(stream),
        };
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";
        peer.send(connect.as_bytes()).await?;
        peer.round_trip().await?;
        Ok(peer)
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    ///
    /// Fails if the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.doing("send")
    }

    /// Publishes a message with any header bytes. Returns when the broker has accepted it.
    ///
    /// # Errors
    ///
    /// Fails if the broker refused it.
    pub async fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<(), Failure> {
        let (header_len, total) = (headers.len(), headers.len() + body.len());
        let mut bytes = format!("HPUB {subject} {reply} {header_len} {total}\r\n").into_bytes();
        bytes.extend([headers, body, b"\r\n"].concat());
        self.send(&bytes).await?;
        self.round_trip().await
    }

    /// Sends PING and waits for PONG, after which the broker has read everything before. Skips
    /// messages.
    ///
    /// # Errors
    ///
    /// Returns the broker's `-ERR`, or an error if it does not answer.
    pub async fn round_trip(&mut self) -> Result<(), Failure> {
        self.send(b"PING\r\n").await?;
        loop {
            let line = timeout(LIMIT, self.line()).await.doing("await PONG")??;
            match line.trim_end() {
                "PONG" => return Ok(()),
                error if error.starts_with("-ERR") => return Err(Failure::new(error)),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line).await;
        match read.doing("read a line")? {
            0 => Err(Failure::new("the broker closed the connection")),
            _ => Ok(String::from_utf8_lossy(&line).into_owned()),
        }
    }
}
