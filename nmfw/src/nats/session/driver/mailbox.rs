//! [`Mailbox`]: what waits for the task of a session.

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

/// Packets without a number that may wait beside the numbered ones: acknowledgements and signs of
/// life, of which an honest peer sends few.
const MAX_BARE: usize = 64;

/// Bytes of packets that may wait: more than two of the largest usual windows, as packets that are sent
/// again may lie beside the first ones.
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Subjects that may be denied at a time. Those of a session are few.
const MAX_DENIED: usize = 64;

/// Filled by those who must not wait, readers of subscriptions and callers; emptied by the task of
/// the session, all at once.
///
/// It is bounded: packets by what the window allows, commands by the calls that are under way, each
/// of which has few at a time: its beginning, a batch of messages, a word about what was taken.
#[derive(Debug)]
pub(crate) struct Mailbox<C> {
    contents: Mutex<Contents<C>>,
    bell: Notify,
    /// What applications have taken of streams that are over, of which the session's task is to know
    /// when it wakes up for something else.
    untold: AtomicU64,
    /// See [`Self::is_full`].
    is_full: AtomicBool,
}

#[derive(Debug)]
struct Contents<C> {
    batch: Batch<C>,
    max_packets: usize,
    /// Bytes of the packets in the batch.
    bytes: usize,
    /// The bell was rung since the batch was taken.
    is_rung: bool,
    /// The session is over: nobody reads any more.
    is_over: bool,
}

/// What was there at a time.
#[derive(Debug)]
pub(crate) struct Batch<C> {
    pub(crate) packets: Vec<Packet>,
    pub(crate) commands: Vec<C>,
    pub(crate) signals: Signals,
}

/// What is said once, however often.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// A caller has given its call up.
    pub(crate) gave_up: bool,
    /// No new calls are wanted; the session may end when the present ones have.
    pub(crate) drain: bool,
    /// The connection was lost and is back: its present life.
    pub(crate) reconnected: Option<u64>,
    /// Subjects to which the NATS server does not let this side publish, each once.
    pub(crate) denied: Vec<(String, Status)>,
    /// Packets that were dropped, as too many waited.
    pub(crate) dropped: u64,
    /// Why the session is to end at once.
    pub(crate) failure: Option<Status>,
}

/// A NATS message for a session.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) payload: Bytes,
    pub(crate) reply: Option<Subject>,
    pub(crate) is_no_responders: bool,
}

impl From<Message> for Packet {
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
            signals: Signals::default(),
        }
    }
}

impl<C> Contents<C> {
    /// Whether the bell is to be rung: once for each batch.
    fn rings(&mut self) -> bool {
        !mem::replace(&mut self.is_rung, true)
    }
}

/// Those that are sent again may lie beside the first ones.
fn max_packets(packet_window: u32) -> usize {
    2 * packet_window as usize + MAX_BARE
}

impl<C> Mailbox<C> {
    /// For a session with this window of packets.
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

    /// The session lets the peer have more packets on their way.
    pub(crate) fn widen(&self, packet_window: u32) {
        self.contents().max_packets = max_packets(packet_window);
    }

    fn contents(&self) -> MutexGuard<'_, Contents<C>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet has come. More than the window allows, or more bytes than [`MAX_BYTES`], are dropped: they
    /// need not be the peer's.
    pub(crate) fn packet(&self, packet: Packet) {
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

    /// Gives the command back if the session is over.
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

    /// So much of a stream that is over was taken.
    pub(crate) fn untold(&self, cost: u64) {
        self.untold.fetch_add(cost, Ordering::Relaxed);
    }

    /// Whether the session has much to send that its peer does not take.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        if self.is_full() != is_full {
            self.is_full.store(is_full, Ordering::Relaxed);
        }
    }

    /// What was taken since the last time.
    pub(crate) fn take_untold(&self) -> u64 {
        match self.untold.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.untold.swap(0, Ordering::Relaxed),
        }
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        let contents = self.contents();
        contents.batch.packets.len() + contents.batch.commands.len()
    }

    fn signal(&self, set: impl FnOnce(&mut Signals)) {
        let rings = {
            let mut contents = self.contents();
            set(&mut contents.batch.signals);
            contents.rings()
        };
        self.ring(rings);
    }

    /// Outside of the lock, which the task of the session wants at once.
    fn ring(&self, rings: bool) {
        if rings {
            self.bell.notify_one();
        }
    }

    pub(crate) fn gave_up(&self) {
        self.signal(|signals| signals.gave_up = true);
    }

    pub(crate) fn drain(&self) {
        self.signal(|signals| signals.drain = true);
    }

    pub(crate) fn reconnected(&self, epoch: u64) {
        self.signal(|signals| signals.reconnected = Some(epoch));
    }

    /// The NATS server does not let this side publish to the subject. If that is where the packets
    /// go, it ends the session. All of them are kept: OPEN is not sent again, so that its denial
    /// comes once, and those of other calls on the connection may come with it.
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

    /// Closes the box for good, and gives the commands that nobody has seen.
    pub(crate) fn close(&self) -> Vec<C> {
        let mut contents = self.contents();
        contents.is_over = true;
        mem::take(&mut contents.batch).commands
    }

    /// Takes all that is there, in exchange for an empty batch.
    pub(crate) fn take(&self, batch: &mut Batch<C>) {
        debug_assert!(batch.packets.is_empty() && batch.commands.is_empty());
        batch.signals = Signals::default();
        let mut contents = self.contents();
        contents.is_rung = false;
        contents.bytes = 0;
        mem::swap(&mut contents.batch, batch);
    }

    /// Takes the commands alone. What else is there is seen to after [`Self::ring_again`].
    pub(crate) fn take_commands(&self) -> Vec<C> {
        let mut contents = self.contents();
        contents.is_rung = false;
        mem::take(&mut contents.batch.commands)
    }

    pub(crate) fn ring_again(&self) {
        self.bell.notify_one();
    }

    /// Comes back when something may be there.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They need not be the peer's, so that the session does not end for them.
    #[test]
    fn packets_beyond_the_window_are_dropped() {
        let mailbox = Mailbox::<()>::new(8);
        for _ in 0..max_packets(8) + 5 {
            mailbox.packet(Packet {
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
        let packet = |len| Packet {
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
                "they are lost, and no more"
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
