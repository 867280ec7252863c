//! What waits to be written to one client: bounded, filled by any publisher, emptied by the
//! client's own writer.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A buffer larger than this is given back after it was written.
const KEEP: usize = 256 * 1024;

/// How full an outbox is when publishers start to be slowed down, in quarters.
const STALL_QUARTERS: usize = 3;

/// The bytes that one client has yet to receive.
#[derive(Debug)]
pub(crate) struct Outbox {
    pending: Mutex<Pending>,
    /// Bytes arrived, or the outbox closed.
    filled: Notify,
    /// Bytes left.
    drained: Notify,
    /// Ends the connection at once, with nothing more written.
    cut: CancellationToken,
    max: usize,
}

#[derive(Debug, Default)]
struct Pending {
    buf: Vec<u8>,
    /// How much the writer took and has not written yet. It counts against the limit.
    writing: usize,
    /// Whether somebody has undertaken to wake the writer for what is in `buf`.
    announced: bool,
    closed: bool,
}

/// What became of something that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Queued {
        /// The caller has to call [`Outbox::wake`] soon: nobody else will for these bytes.
        wake: bool,
        /// The client is not keeping up; the caller does well to wait a little.
        crowded: bool,
    },
    /// The client is gone, or it just was cut off for being too slow.
    Refused,
}

impl Outbox {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            pending: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            cut: CancellationToken::new(),
            max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the concatenation of `parts`; never waits.
    ///
    /// A client that would have more than the limit waiting is cut off instead, with no word of
    /// why: it may be in the middle of a message, and nats-server says none either.
    pub(crate) fn put(&self, parts: &[&[u8]]) -> Put {
        let mut pending = self.lock();
        if pending.closed {
            return Put::Refused;
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let total = pending.buf.len() + pending.writing + len;
        if total > self.max {
            pending.closed = true;
            pending.buf = Vec::new();
            drop(pending);
            self.cut.cancel();
            return Put::Refused;
        }
        pending.buf.reserve(len);
        for part in parts {
            pending.buf.extend_from_slice(part);
        }
        let wake = !mem::replace(&mut pending.announced, true);
        Put::Queued {
            wake,
            crowded: total > self.max / 4 * STALL_QUARTERS,
        }
    }

    /// Tells the writer that there is something to write.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Accepts nothing more; what is in is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Accepts nothing more and ends the connection at once.
    pub(crate) fn cut(&self) {
        self.lock().closed = true;
        self.cut.cancel();
    }

    /// Completes when the connection has to end at once.
    pub(crate) async fn was_cut(&self) {
        self.cut.cancelled().await;
    }

    /// Waits until the writer has written something, for at most `limit`.
    pub(crate) async fn wait_drained(&self, limit: Duration) {
        let _ = timeout(limit, self.drained.notified()).await;
    }

    /// Writes what comes in until the outbox is closed and empty, or the peer takes longer than
    /// `deadline` for what was there to be written at one moment.
    pub(crate) async fn write_to(&self, mut socket: OwnedWriteHalf, deadline: Duration) {
        let mut chunk = Vec::new();
        loop {
            let closed = {
                let mut pending = self.lock();
                mem::swap(&mut pending.buf, &mut chunk);
                pending.writing = chunk.len();
                pending.announced = false;
                pending.closed
            };
            if chunk.is_empty() {
                if closed {
                    break;
                }
                self.filled.notified().await;
                continue;
            }
            match timeout(deadline, socket.write_all(&chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.cut(),
            }
            if chunk.capacity() > KEEP {
                chunk = Vec::new();
            }
            chunk.clear();
            self.lock().writing = 0;
            self.drained.notify_waiters();
        }
        // The peer sees the end only now that it has everything. If this fails it has gone.
        let _ = socket.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_is_asked_for_until_the_writer_came() {
        let outbox = Outbox::new(100);
        assert_eq!(
            outbox.put(&[b"a", b"b"]),
            Put::Queued {
                wake: true,
                crowded: false
            }
        );
        assert_eq!(
            outbox.put(&[b"c"]),
            Put::Queued {
                wake: false,
                crowded: false
            }
        );
        outbox.close();
        assert_eq!(outbox.put(&[b"d"]), Put::Refused);
        assert_eq!(outbox.lock().buf, b"abc");
    }

    #[test]
    fn the_limit_counts_what_is_being_written_and_cuts() {
        let outbox = Outbox::new(100);
        outbox.lock().writing = 70;
        assert_eq!(
            outbox.put(&[&[0; 20]]),
            Put::Queued {
                wake: true,
                crowded: true
            }
        );
        assert_eq!(outbox.put(&[&[0; 20]]), Put::Refused);
        assert!(outbox.cut.is_cancelled());
        assert_eq!(outbox.lock().buf.capacity(), 0);
    }
}
