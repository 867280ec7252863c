//! The driver of sessions over NATS: one task per session, which owns the [`Session`], feeds it
//! from its [`Mailbox`], and publishes its packets.

mod answers;
mod mailbox;
mod publisher;
mod stream_io;
mod timer;

use std::{mem, pin::pin, time::Instant};

use async_nats::Subject;

pub(crate) use self::{
    answers::Answers,
    mailbox::{Mailbox, MailboxSignals, QueuedPacket},
    publisher::Publisher,
    stream_io::{Ended, Flow, Incoming, Outgoing, SessionHalf, StreamCommand, StreamIo, trailers},
};
use self::{mailbox::Batch, timer::Timer};
use super::protocol::{Config, Event, Session, Site, Transmit};
use crate::{Connection, Status, nats::unary::stream_ack::StreamAck};
use nmfw_core::{log_limit::LogLimit, observe::metrics};

/// Size that account mappings may add to a packet.
const PACKET_RESERVE: usize = 1024;

/// Maximum packet size. Larger packets have no benefit: the longest frame that cannot be split, a
/// STATUS, fits into this, and packets are kept until they are acknowledged.
const MAX_PACKET: usize = 160 * 1024;

/// How often the session's task yields while its queue keeps growing: a runtime polls a few dozen
/// tasks in each turn. Packets then grow with the load, and more messages share their cost for the
/// broker and the peer.
const MAX_TURNS: usize = 8;

/// Minimum `max_payload`, below which the reserve would leave no room for a packet.
const MIN_PAYLOAD: usize = 2 * PACKET_RESERVE;

/// Rate limit for warnings about streams that capture packets.
static CAPTURED: LogLimit = LogLimit::new();

/// Rate limit for log lines about packets that are unproven or exceed the limits.
static UNPROVEN: LogLimit = LogLimit::new();
static OVERFLOW: LogLimit = LogLimit::new();

/// Returns the settings of sessions on a connection; `None` if its server's limit is too small.
pub(crate) fn config(connection: &Connection) -> Option<Config> {
    let max_payload = connection.max_payload();
    (max_payload >= MIN_PAYLOAD).then(|| Config {
        max_packet: (max_payload - PACKET_RESERVE).min(MAX_PACKET),
        site: site(connection),
        ..Config::default()
    })
}

/// Returns the NATS server of the connection.
fn site(connection: &Connection) -> Site {
    connection
        .client()
        .try_server_info()
        .map_or_else(Site::default, |info| {
            Site::new(&info.server_id, info.cluster.as_deref().unwrap_or_default())
        })
}

/// Publishes a session's packets to the peer.
pub(crate) trait Publish: Send {
    /// Publishes a packet. Returns whether it was accepted; if not, further packets would not be
    /// either at present.
    ///
    /// # Errors
    /// Fails if the session cannot continue.
    fn publish(&mut self, transmit: Transmit) -> impl Future<Output = Result<bool, Status>> + Send;

    /// Records the peer's subject from one of its packets.
    ///
    /// # Errors
    /// Fails if the subject cannot be the peer's, so that the session cannot be opened.
    fn learn(&mut self, reply: Option<Subject>) -> Result<(), Status>;

    /// Returns the subject that packets are published to.
    fn peer(&self) -> Subject;

    /// Returns the NATS server that receives the packets.
    fn site(&self) -> Site;

    /// Returns whether packets use a mapping between accounts, which ends with the connection.
    fn is_mapped(&self) -> bool;
}

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The application's side of a session.
pub(crate) trait Side {
    /// Commands from the application.
    type Command: Send;

    fn on_command(&mut self, session: &mut Session, command: Self::Command);

    fn on_event(&mut self, session: &mut Session, event: Event);

    /// Called after all pending commands and packets, before packets are sent.
    fn settle(&mut self, session: &mut Session, signals: &MailboxSignals, now: Instant);

    /// Returns when [`Self::settle`] has to be called again, unless something happens earlier.
    fn timer(&self) -> Option<Instant> {
        None
    }

    /// Returns the first deadline of this side, which is enforced even while the connection is not
    /// ready.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Handles a passed deadline. The next one is later.
    fn on_deadline(&mut self, _session: &mut Session, _now: Instant) {}

    /// Returns whether other tasks are likely to have messages to send now.
    fn is_busy(&self) -> bool;
}

/// Runs a session until it ends. All pending input is processed before anything is sent, so that
/// many calls share few packets.
pub(crate) async fn drive<S: Side>(
    session: &mut Session,
    mailbox: &Mailbox<S::Command>,
    publisher: &mut impl Publish,
    side: &mut S,
) {
    let mut batch = Batch::default();
    let mut timer = Timer::new();
    let open = metrics::OpenSession::new(session.is_server());
    loop {
        mailbox.take(&mut batch);
        session.release(mailbox.take_untold());
        let now = now();
        for packet in batch.packets.drain(..) {
            if packet.is_no_responders {
                session.handle_no_responders(now);
            } else if let Some(ack) = StreamAck::read(&packet.payload) {
                // A stream that captures the peer's subject acknowledges packets; the peer's own
                // packets arrive as well.
                ack.warn(&publisher.peer(), &CAPTURED);
                session.handle_capture(ack.describe(&publisher.peer()));
            } else if session.handle_packet(now, &packet.payload) {
                // The peer's subject is taken only from a packet with a valid proof.
                if let Err(status) = publisher.learn(packet.reply) {
                    session.close(Some(status));
                }
            } else if let Some(more) = UNPROVEN.pass() {
                tracing::debug!(
                    peer = %publisher.peer(),
                    more,
                    "dropped a packet without a valid proof from the peer of its session"
                );
            }
            pass_events(session, side);
        }
        if batch.signals.dropped > 0 {
            session.count_dropped(batch.signals.dropped);
            if let Some(more) = OVERFLOW.pass() {
                tracing::debug!(peer = %publisher.peer(), more, "dropped packets of a session: its queue is full");
            }
        }
        for command in batch.commands.drain(..) {
            side.on_command(session, command);
        }
        if batch.signals.reconnected.is_some() {
            session.set_site(publisher.site());
            session.handle_reconnect(now);
            if publisher.is_mapped() {
                // The server would not report it.
                session.handle_no_responders(now);
            }
        }
        let mut denied = mem::take(&mut batch.signals.denied).into_iter();
        let denied = denied.find(|(subject, _)| publisher.peer().as_str() == subject);
        let denied = denied.map(|(_, status)| status);
        if let Some(status) = denied.or_else(|| batch.signals.failure.take()) {
            session.close(Some(status));
        }
        session.handle_timeout(now);
        pass_events(session, side);
        side.settle(session, &batch.signals, now);
        pass_events(session, side);
        loop {
            if let Err(status) = transmit(session, publisher, (mailbox, side), now).await {
                session.close(Some(status));
            }
            if !pass_events(session, side) {
                break;
            }
        }
        mailbox.set_full(session.is_full());
        open.add(session.take_counts());
        if session.is_closed() {
            return;
        }
        timer.set(
            [session.poll_timeout(), side.timer()]
                .into_iter()
                .flatten()
                .min(),
        );
        tokio::select! {
            biased;
            () = mailbox.elapsed() => {
                if side.is_busy() {
                    let_others_go_first(mailbox).await;
                }
            }
            () = timer.elapsed() => {}
        }
    }
}

/// Yields to tasks that were woken together with this one, so that their messages share the packet.
async fn let_others_go_first<C>(mailbox: &Mailbox<C>) {
    let mut waiting = 0;
    for _ in 0..MAX_TURNS {
        let more = mailbox.len();
        if more <= waiting {
            break;
        }
        waiting = more;
        tokio::task::yield_now().await;
    }
}

/// Publishes the last packets of an ended session.
pub(crate) async fn flush(session: &mut Session, publisher: &mut impl Publish) {
    while let Some(transmit) = session.poll_transmit(now()) {
        if let Err(status) = publisher.publish(transmit).await {
            return log_limited!(debug, %status, "a session ended without notifying its peer");
        }
    }
}

/// Passes events to the side; returns whether there were any.
fn pass_events<S: Side>(session: &mut Session, side: &mut S) -> bool {
    let mut any = false;
    while let Some(event) = session.poll_event() {
        side.on_event(session, event);
        any = true;
    }
    any
}

async fn transmit<S: Side>(
    session: &mut Session,
    publisher: &mut impl Publish,
    (mailbox, side): (&Mailbox<S::Command>, &mut S),
    began: Instant,
) -> Result<(), Status> {
    while let Some(transmit) = session.poll_transmit(began) {
        let mut publish = pin!(publisher.publish(transmit));
        let mut is_held_up = false;
        let taken = loop {
            let deadline = async {
                match side.deadline() {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                taken = &mut publish => break taken?,
                () = deadline => side.on_deadline(session, now()),
                // Calls that start meanwhile have deadlines, too.
                () = mailbox.elapsed() => {
                    is_held_up = true;
                    for command in mailbox.take_commands() {
                        side.on_command(session, command);
                    }
                }
            }
        };
        if is_held_up {
            mailbox.ring_again();
        }
        if !taken {
            break;
        }
    }
    Ok(())
}
