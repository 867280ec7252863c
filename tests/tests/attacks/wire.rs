//! A minimal NATS client for attackers: it writes at full speed, and by itself only answers the
//! pings of the NATS server.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that are buffered before they are written.
const BUFFER: usize = 64 * 1024;

/// Messages that may wait for the attacker. Further ones are counted and dropped.
const WAITING: usize = 8_192;

/// Time after which a NATS server that accepts no data is considered stuck.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A message that has arrived.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    /// Length of the headers at the start of `bytes`; 0 without headers.
    pub(crate) header_len: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }
}

/// The traffic of a connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent_messages: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_messages: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    /// Number of connections that the NATS server has closed.
    pub(crate) cut: AtomicU64,
    /// Whether to send little, so that a slow machine keeps up.
    is_little: bool,
}

/// The limits of little: less than the buffer of a subscription holds, and a few large messages.
const LITTLE_MESSAGES: u64 = 10_000;
const LITTLE_BYTES: u64 = 4 << 20;

impl Traffic {
    /// Creates the traffic of an attacker that sends little.
    pub(crate) fn little() -> Self {
        Self {
            is_little: true,
            ..Self::default()
        }
    }

    /// Whether everything has been sent.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_little
            && (self.sent_messages.load(Ordering::Relaxed) >= LITTLE_MESSAGES
                || self.sent_bytes.load(Ordering::Relaxed) >= LITTLE_BYTES)
    }
}

#[derive(Debug)]
struct Out {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Out {
    fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.write_all(&self.buffer);
        self.buffer.clear();
        result
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    out: Arc<Mutex<Out>>,
    messages: Receiver<Message>,
    traffic: Arc<Traffic>,
    /// The subject of replies: `<prefix>.>`.
    pub(crate) inbox: String,
    until: Instant,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        _ = out.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Peer {
    /// Connects, and logs in as `user` if there are users.
    pub(crate) fn connect(
        port: u16,
        user: Option<&str>,
        traffic: &Arc<Traffic>,
        until: Instant,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        let mut input = BufReader::with_capacity(256 * 1024, stream.try_clone()?);
        let login = user.map_or_else(String::new, |user| {
            format!(",\"user\":{user:?},\"pass\":\"x\"")
        });
        let mut out = Out {
            stream,
            buffer: format!(
                "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true{login}}}\r\nPING\r\n"
            )
            .into_bytes(),
        };
        out.flush()?;
        let mut line = String::new();
        while line.trim_end() != "PONG" {
            line.clear();
            if input.read_line(&mut line)? == 0 || line.starts_with("-ERR") {
                return Err(io::Error::other(format!("the NATS server sent {line:?}")));
            }
        }
        let out = Arc::new(Mutex::new(out));
        let (sender, messages) = sync_channel(WAITING);
        let reader = Reader {
            input,
            out: Arc::clone(&out),
            traffic: Arc::clone(traffic),
            sender,
        };
        // Ends with its connection, which is shut down when the peer is dropped.
        thread::spawn(move || reader.run());
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let peer = Self {
            out,
            messages,
            traffic: Arc::clone(traffic),
            inbox: format!("_INBOX.attacker{}x{number}", std::process::id()),
            until,
        };
        peer.subscribe(&format!("{}.>", peer.inbox))?;
        Ok(peer)
    }

    /// Whether the attack continues.
    pub(crate) fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.traffic.is_spent()
    }

    pub(crate) fn subscribe(&self, subject: &str) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.write(format!("SUB {subject} {id}\r\n").as_bytes())?;
        self.flush()
    }

    /// Subscribes in a queue group.
    pub(crate) fn queue_subscribe(&self, subject: &str) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.write(format!("SUB {subject} q {id}\r\n").as_bytes())?;
        self.flush()
    }

    pub(crate) fn publish(&self, subject: &str, reply: &str, body: &[u8]) -> io::Result<()> {
        self.publish_with(subject, reply, b"", body)
    }

    /// Publishes with any header bytes, or without headers if they are empty.
    pub(crate) fn publish_with(
        &self,
        subject: &str,
        reply: &str,
        headers: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let total = headers.len() + body.len();
        let line = match headers {
            [] => format!("PUB {subject} {reply} {total}\r\n"),
            _ => format!("HPUB {subject} {reply} {} {total}\r\n", headers.len()),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for part in [line.as_bytes(), headers, body, b"\r\n"] {
            out.buffer.extend_from_slice(part);
        }
        self.traffic.sent_messages.fetch_add(1, Ordering::Relaxed);
        let size = (line.len() + total + 2) as u64;
        self.traffic.sent_bytes.fetch_add(size, Ordering::Relaxed);
        if out.buffer.len() >= BUFFER {
            out.flush()?;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }

    /// Returns the next message; `None` if none arrives within `limit`.
    pub(crate) fn next(&self, limit: Duration) -> io::Result<Option<Message>> {
        self.flush()?;
        match self.messages.recv_timeout(limit) {
            Ok(message) => Ok(Some(message)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// Drops all received messages.
    pub(crate) fn drain(&self) {
        while self.messages.try_recv().is_ok() {}
    }

    /// Waits until the attack is over, or for this time.
    pub(crate) fn rest(&self, time: Duration) -> io::Result<()> {
        self.flush()?;
        let end = (Instant::now() + time).min(self.until);
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            self.next(left.min(Duration::from_millis(20)))?;
        }
        Ok(())
    }
}

struct Reader {
    input: BufReader<TcpStream>,
    out: Arc<Mutex<Out>>,
    traffic: Arc<Traffic>,
    sender: SyncSender<Message>,
}

impl Reader {
    fn run(mut self) {
        let mut line = String::new();
        loop {
            line.clear();
            match self.input.read_line(&mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
            let (header_len, total) = match words.first().copied() {
                Some("MSG") => (Some(0), number(words.len() - 1)),
                Some("HMSG") => (number(words.len() - 2), number(words.len() - 1)),
                Some("PING") => {
                    let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
                    out.buffer.extend_from_slice(b"PONG\r\n");
                    if out.flush().is_err() {
                        break;
                    }
                    continue;
                }
                _ => continue,
            };
            let (Some(header_len), Some(total)) = (header_len, total) else {
                break;
            };
            let mut bytes = vec![0; total + 2];
            if self.input.read_exact(&mut bytes).is_err() {
                break;
            }
            bytes.truncate(total);
            let size = (line.len() + total + 2) as u64;
            self.traffic
                .received_bytes
                .fetch_add(size, Ordering::Relaxed);
            self.traffic
                .received_messages
                .fetch_add(1, Ordering::Relaxed);
            // MSG subject id [reply] size; HMSG has one more size.
            let fixed = if words[0] == "MSG" { 4 } else { 5 };
            let message = Message {
                subject: words[1].to_owned(),
                reply: (words.len() > fixed).then(|| words[3].to_owned()),
                header_len,
                bytes,
            };
            _ = self.sender.try_send(message);
        }
        self.traffic.cut.fetch_add(1, Ordering::Relaxed);
    }
}
