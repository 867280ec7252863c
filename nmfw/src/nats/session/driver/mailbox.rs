//! [`Mailbox`]: the input queue of a session's task.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::Status;

/// Maximum number of queued bare packets: acknowledgements and liveness checks, of which a correct
/// peer sends few.
const MAX_BARE: usize = 64;

/// Maximum size of queued packets: more than two of the largest usual windows, because resent
/// packets may be queued beside the originals.
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Maximum number of denied subjects at a time. A session has few.
const MAX_DENIED: usize = 64;

/// Filled by readers of subscriptions and by callers, which must not wait, and drained by the
/// session's task in batches.
///
/// The queue is bounded: packets by the window, and commands by the number of calls in flight, each
/// of which queues only a few: its start, a batch of messages, and a notification of taken
/// messages.
#[derive(Debug)]
pub(crate) struct Mailbox<C> {
    contents: Mutex<Contents<C>>,
    bell: Notify,
    /// The cost of messages that applications have taken from ended streams, which the session's
    /// task processes when it wakes for another reason.
    untold: AtomicU64,
    /// See [`Self::is_full`].
    is_full: AtomicBool,
}

#[derive(Debug)]
struct Contents<C> {
    batch: Batch<C>,
    max_packets: usize,
    /// Size of the packets in the batch.
    bytes: usize,
    /// Whether the task was woken since it took the batch.
    is_rung: bool,
    /// Whether the session has ended, so that the queue is no longer read.
    is_over: bool,
}

/// The content of the queue at one point in time.
#[derive(Debug)]
pub(crate) struct Batch<C> {
    pub(crate) packets: Vec<QueuedPacket>,
    pub(crate) commands: Vec<C>,
    pub(crate) signals: MailboxSignals,
}

/// Signals that are queued at most once.
#[derive(Debug, Default)]
pub(crate) struct MailboxSignals {
    /// Whether a caller has cancelled its call.
    pub(crate) cancelled: bool,
    /// Whether new calls are unwanted, so that the session may end after the current ones.
    pub(crate) drain: bool,
    /// The current epoch of the connection after a reconnect.
    pub(crate) reconnected: Option<u64>,
    /// Distinct subjects to which the NATS server denies publishing by this side.
    pub(crate) denied: Vec<(String, Status)>,
    /// Number of packets that were dropped because the queue was full.
    pub(crate) dropped: u64,
    /// The error with which to end the session at once.
    pub(crate) failure: Option<Status>,
}

/// A NATS message for a session.
#[derive(Debug)]
pub(crate) struct QueuedPacket {
    pub(crate) payload: Bytes,
    pub(crate) reply: Option<Subject>,
    pub(crate) is_no_responders: bool,
}

impl From<Message> for QueuedPacket {
    fn from(message: Message) -> Self {
        Self {
            is_no_responders: message.status == Some(StatusCode::NO_RESPONDERS),
            payload: message.payload,
            reply: message.reply,
        }
    }
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self {
            packets: Vec::new(),
            commands: Vec::new(),
            signals: MailboxSignals::default(),
        }
    }
}

impl<C> Contents<C> {
    /// Returns whether the task has to be woken: once per batch.
    fn rings(&mut self) -> bool {
        !mem::replace(&mut self.is_rung, true)
    }
}

/// Resent packets may be queued beside the originals.
fn max_packets(packet_window: u32) -> usize {
    2 * packet_window as usize + MAX_BARE
}

impl<C> Mailbox<C> {
    /// Creates a mailbox for a session with this packet window.
    pub(crate) fn new(packet_window: u32) -> Self {
        Self {
            contents: Mutex::new(Contents {
                batch: Batch::default(),
                max_packets: max_packets(packet_window),
                bytes: 0,
                is_rung: false,
                is_over: false,
            }),
            bell: Notify::new(),
            untold: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
        }
    }

    /// Allows for a larger packet window.
    pub(crate) fn widen(&self, packet_window: u32) {
        self.contents().max_packets = max_packets(packet_window);
    }

    fn contents(&self) -> MutexGuard<'_, Contents<C>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a packet. Packets beyond the window or [`MAX_BYTES`] are dropped, because they may
    /// not come from the peer.
    pub(crate) fn packet(&self, packet: QueuedPacket) {
        let rings = {
            let mut contents = self.contents();
            if contents.is_over {
                return;
            }
            let is_full = contents.batch.packets.len() >= contents.max_packets
                || contents.bytes + packet.payload.len() > MAX_BYTES;
            if is_full {
                contents.batch.signals.dropped += 1;
            } else {
                contents.bytes += packet.payload.len();
                contents.batch.packets.push(packet);
            }
            contents.rings()
        };
        self.ring(rings);
    }

    /// Queues a command; returns it if the session has ended.
    pub(crate) fn command(&self, command: C) -> Result<(), C> {
        let rings = {
            let mut contents = self.contents();
            if contents.is_over {
                return Err(command);
            }
            contents.batch.commands.push(command);
            contents.rings()
        };
        self.ring(rings);
        Ok(())
    }

    /// Adds the cost of messages taken from an ended stream.
    pub(crate) fn untold(&self, cost: u64) {
        self.untold.fetch_add(cost, Ordering::Relaxed);
    }

    /// Returns whether the session has much to send that its peer does not accept.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        if self.is_full() != is_full {
            self.is_full.store(is_full, Ordering::Relaxed);
        }
    }

    /// Returns the messages taken since the last call.
    pub(crate) fn take_untold(&self) -> u64 {
        match self.untold.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.untold.swap(0, Ordering::Relaxed),
        }
    }

    /// Returns the length of the queue.
    pub(crate) fn len(&self) -> usize {
        let contents = self.contents();
        contents.batch.packets.len() + contents.batch.commands.len()
    }

    fn signal(&self, set: impl FnOnce(&mut MailboxSignals)) {
        let rings = {
            let mut contents = self.contents();
            set(&mut contents.batch.signals);
            contents.rings()
        };
        self.ring(rings);
    }

    /// Wakes the task, outside of the lock, which the task acquires at once.
    fn ring(&self, rings: bool) {
        if rings {
            self.bell.notify_one();
        }
    }

    pub(crate) fn cancelled(&self) {
        self.signal(|signals| signals.cancelled = true);
    }

    pub(crate) fn drain(&self) {
        self.signal(|signals| signals.drain = true);
    }

    pub(crate) fn reconnected(&self, epoch: u64) {
        self.signal(|signals| signals.reconnected = Some(epoch));
    }

    /// Records that the NATS server does not let this side publish to the subject. If packets go
    /// there, the session ends. All subjects are kept: OPEN is not resent, so its denial comes
    /// once, possibly together with those of other calls on the connection.
    pub(crate) fn denied(&self, subject: &str, status: Status) {
        self.signal(|signals| {
            let denied = &signals.denied;
            if denied.len() < MAX_DENIED && denied.iter().all(|(known, _)| known != subject) {
                signals.denied.push((subject.to_owned(), status));
            }
        });
    }

    /// Ends the session.
    pub(crate) fn fail(&self, status: Status) {
        self.signal(|signals| {
            signals.failure.get_or_insert(status);
        });
    }

    /// Closes the mailbox permanently, and returns the unprocessed commands.
    pub(crate) fn close(&self) -> Vec<C> {
        let mut contents = self.contents();
        contents.is_over = true;
        mem::take(&mut contents.batch).commands
    }

    /// Takes the whole content, in exchange for an empty batch.
    pub(crate) fn take(&self, batch: &mut Batch<C>) {
        debug_assert!(batch.packets.is_empty() && batch.commands.is_empty());
        batch.signals = MailboxSignals::default();
        let mut contents = self.contents();
        contents.is_rung = false;
        contents.bytes = 0;
        mem::swap(&mut contents.batch, batch);
    }

    /// Takes only the commands. The rest is processed after [`Self::ring_again`].
    pub(crate) fn take_commands(&self) -> Vec<C> {
        let mut contents = self.contents();
        contents.is_rung = false;
        mem::take(&mut contents.batch.commands)
    }

    pub(crate) fn ring_again(&self) {
        self.bell.notify_one();
    }

    /// Completes when the queue may have content.
    pub(crate) async fn elapsed(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets beyond the window do not end the session, because they may not come from the peer.
    #[test]
    fn packets_beyond_the_window_are_dropped() {
        let mailbox = Mailbox::<()>::new(8);
        for _ in 0..max_packets(8) + 5 {
            mailbox.packet(QueuedPacket {
                payload: Bytes::new(),
                reply: None,
                is_no_responders: false,
            });
        }
        let mut batch = Batch::default();
        mailbox.take(&mut batch);
        assert_eq!(batch.packets.len(), max_packets(8));
        assert_eq!(batch.signals.dropped, 5);
        assert!(batch.signals.failure.is_none());
    }

    #[test]
    fn packets_that_wait_have_a_bound_in_bytes() {
        let mailbox = Mailbox::<()>::new(64);
        let packet = |len| QueuedPacket {
            payload: vec![0; len].into(),
            reply: None,
            is_no_responders: false,
        };
        let mut batch = Batch::default();
        for _ in 0..2 {
            for _ in 0..30 {
                mailbox.packet(packet(1 << 20));
            }
            mailbox.take(&mut batch);
            assert_eq!(batch.packets.len(), MAX_BYTES >> 20);
            assert!(batch.signals.dropped > 0);
            assert!(
                batch.signals.failure.is_none(),
                "the dropped packets are counted"
            );
            batch = Batch::default();
        }
    }

    #[test]
    fn a_denial_does_not_hide_another() {
        let mailbox = Mailbox::<()>::new(8);
        for subject in ["calc._open", "calc.Add", "calc._open"] {
            mailbox.denied(subject, Status::permission_denied(subject));
        }
        let mut batch = Batch::default();
        mailbox.take(&mut batch);
        let denied = batch.signals.denied.iter();
        let subjects: Vec<_> = denied.map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(subjects, ["calc._open", "calc.Add"]);
        mailbox.take(&mut batch);
        assert!(batch.signals.denied.is_empty());
    }
}
