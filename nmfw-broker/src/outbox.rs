//! The bounded output buffer of one client, filled by any publisher and drained by the client's
//! writer.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A buffer larger than this is freed after it was written.
const KEEP: usize = 256 * 1024;

/// Fill level, in quarters, at which publishers are delayed.
const STALL_QUARTERS: usize = 3;

/// The output of one client that is not written yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    pending: Mutex<Pending>,
    /// Notified when bytes arrive or the outbox is closed.
    filled: Notify,
    /// Notified when bytes were written.
    drained: Notify,
    /// Ends the connection at once, without writing more.
    cut: CancellationToken,
    max: usize,
}

#[derive(Debug, Default)]
struct Pending {
    buf: Vec<u8>,
    /// Bytes that the writer took and has not written yet. They count against the limit.
    writing: usize,
    /// Whether a publisher has taken on waking the writer for the bytes in `buf`.
    announced: bool,
    closed: bool,
}

/// The outcome of [`Outbox::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Queued {
        /// The caller has to call [`Outbox::wake`] soon, because no other publisher will for these
        /// bytes.
        wake: bool,
        /// The client does not keep up; the caller should wait briefly.
        crowded: bool,
    },
    /// The client is gone, or was just cut off for being too slow.
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
        // The lock protects no state that a panic could leave inconsistent.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the concatenation of `parts` without waiting.
    ///
    /// A client that would exceed the limit is cut off instead, without an error message: the
    /// output may end in the middle of a message, and nats-server sends none either.
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

    /// Wakes the writer.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Accepts no more output; buffered output is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Accepts no more output and ends the connection at once.
    pub(crate) fn cut(&self) {
        self.lock().closed = true;
        self.cut.cancel();
    }

    /// Completes when the connection has to end at once.
    pub(crate) async fn was_cut(&self) {
        self.cut.cancelled().await;
    }

    /// Waits until the writer has made progress, for at most `limit`.
    pub(crate) async fn wait_drained(&self, limit: Duration) {
        let _ = timeout(limit, self.drained.notified()).await;
    }

    /// Writes output until the outbox is closed and empty, or the peer takes longer than `deadline`
    /// to read what was buffered at one point.
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
        // Shut down only now, so that the peer sees the end after all output. An error means that
        // it is gone.
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
