//! What carries a session over NATS: one task for each, which owns the [`Session`], feeds it with
//! what lies in its [`Mailbox`], and publishes what it has to say.

mod answers;
mod mailbox;
mod publisher;
mod stream_io;
mod timer;

use std::{mem, pin::pin, time::Instant};

use async_nats::Subject;

pub(crate) use self::{
    answers::Answers,
    mailbox::{Mailbox, Packet, Signals},
    publisher::Carrier,
    stream_io::{Ended, Flow, Incoming, Lane, LaneCommand, Outgoing, Port, trailers},
};
use self::{mailbox::Batch, timer::Alarm};
use super::protocol::{Config, Event, Session, Site, Transmit};
use crate::{
    Connection, Status, log_limit::LogLimit, nats::unary::stream_ack::StreamAck, observe::metrics,
};

/// What mappings may add to a packet on its way.
const PACKET_RESERVE: usize = 1024;

/// Larger packets are of no use: the longest frame that cannot be split, a STATUS, fits into this. Packets
/// are kept until they are acknowledged.
const MAX_PACKET: usize = 160 * 1024;

/// How often the task of a session lets the others go first while more and more waits for it: a
/// runtime polls a few dozen tasks in such a turn. The packet grows with the load, and its cost for
/// the broker and the peer is shared by all that is in it.
const MAX_TURNS: usize = 8;

/// Below this there is no room for sessions beside the reserve.
const MIN_PAYLOAD: usize = 2 * PACKET_RESERVE;

/// Warnings of streams that capture packets.
static CAPTURED: LogLimit = LogLimit::new();

/// Lines about packets that do not prove to come from the peer, or are too many.
static UNPROVEN: LogLimit = LogLimit::new();
static OVERFLOW: LogLimit = LogLimit::new();

/// The settings of sessions on a connection; `None` if its server takes too little for them.
pub(crate) fn config(connection: &Connection) -> Option<Config> {
    let max_payload = connection.max_payload();
    (max_payload >= MIN_PAYLOAD).then(|| Config {
        max_packet: (max_payload - PACKET_RESERVE).min(MAX_PACKET),
        site: site(connection),
        ..Config::default()
    })
}

/// The NATS server that the connection is with.
fn site(connection: &Connection) -> Site {
    connection.server_info().map_or_else(Site::default, |info| {
        Site::new(&info.server_id, info.cluster.as_deref().unwrap_or_default())
    })
}

/// The way of a session's packets to the peer.
pub(crate) trait Publish: Send {
    /// Publishes a packet. Returns whether it was taken; if not, trying further ones is of no use now.
    ///
    /// # Errors
    /// The session cannot go on.
    fn publish(&mut self, transmit: Transmit) -> impl Future<Output = Result<bool, Status>> + Send;

    /// Takes the peer's subject from a packet of the peer.
    ///
    /// # Errors
    /// The subject cannot be the peer's, so that the session cannot begin.
    fn learn(&mut self, reply: Option<Subject>) -> Result<(), Status>;

    /// The subject that packets are published to.
    fn peer(&self) -> Subject;

    /// The NATS server that takes the packets.
    fn site(&self) -> Site;

    /// Whether packets take a mapping between accounts, which ends with the connection.
    fn is_mapped(&self) -> bool;
}

/// Returns the time by tokio's clock, which tests pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What a side of a session does with what happens.
pub(crate) trait Side {
    /// What the application tells the session.
    type Command: Send;

    fn on_command(&mut self, session: &mut Session, command: Self::Command);

    fn on_event(&mut self, session: &mut Session, event: Event);

    /// Comes after all commands and packets that were there, and before anything is sent.
    fn settle(&mut self, session: &mut Session, signals: &Signals, now: Instant);

    /// When [`Self::settle`] has to come again, unless something happens before.
    fn alarm(&self) -> Option<Instant> {
        None
    }

    /// The first deadline that this side sees to: that cannot wait, even while the connection takes
    /// nothing.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// It has passed. The next one is later.
    fn on_deadline(&mut self, _session: &mut Session, _now: Instant) {}

    /// Whether others are likely to have something to send at this moment, too.
    fn is_busy(&self) -> bool;
}

/// Carries a session until it is over. All that is ready is taken in before anything is sent, so
/// that many calls go into few packets.
pub(crate) async fn drive<S: Side>(
    session: &mut Session,
    mailbox: &Mailbox<S::Command>,
    carrier: &mut impl Publish,
    side: &mut S,
) {
    let mut batch = Batch::default();
    let mut alarm = Alarm::new();
    let open = metrics::OpenSession::new(session.is_server());
    loop {
        mailbox.take(&mut batch);
        session.release(mailbox.take_untold());
        let now = now();
        for packet in batch.packets.drain(..) {
            if packet.is_no_responders {
                session.handle_no_responders(now);
            } else if let Some(ack) = StreamAck::read(&packet.payload) {
                // Of a stream that captures the peer's subject. The peer's own packets come besides.
                ack.warn(&carrier.peer(), &CAPTURED);
                session.handle_capture(ack.describe(&carrier.peer()));
            } else if session.handle_packet(now, &packet.payload) {
                // The peer's subject is learnt from a packet that proves to be the peer's.
                if let Err(status) = carrier.learn(packet.reply) {
                    session.close(Some(status));
                }
            } else if let Some(more) = UNPROVEN.pass() {
                tracing::debug!(
                    peer = %carrier.peer(),
                    more,
                    "a packet was dropped: it does not prove to come from the peer of its session"
                );
            }
            pass_events(session, side);
        }
        if batch.signals.dropped > 0 {
            session.count_dropped(batch.signals.dropped);
            if let Some(more) = OVERFLOW.pass() {
                tracing::debug!(peer = %carrier.peer(), more, "packets were dropped: too many waited");
            }
        }
        for command in batch.commands.drain(..) {
            side.on_command(session, command);
        }
        if batch.signals.reconnected.is_some() {
            session.set_site(carrier.site());
            session.handle_reconnect(now);
            if carrier.is_mapped() {
                // Which the server would not say.
                session.handle_no_responders(now);
            }
        }
        let mut denied = mem::take(&mut batch.signals.denied).into_iter();
        let denied = denied.find(|(subject, _)| carrier.peer().as_str() == subject);
        let denied = denied.map(|(_, status)| status);
        if let Some(status) = denied.or_else(|| batch.signals.failure.take()) {
            session.close(Some(status));
        }
        session.handle_timeout(now);
        pass_events(session, side);
        side.settle(session, &batch.signals, now);
        pass_events(session, side);
        loop {
            if let Err(status) = transmit(session, carrier, (mailbox, side), now).await {
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
        alarm.set(
            [session.poll_timeout(), side.alarm()]
                .into_iter()
                .flatten()
                .min(),
        );
        tokio::select! {
            biased;
            () = mailbox.rung() => {
                if side.is_busy() {
                    let_others_go_first(mailbox).await;
                }
            }
            () = alarm.rung() => {}
        }
    }
}

/// Who was woken together with this task gets its turn, and into the same packet.
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

/// Publishes what a session that is over has to say.
pub(crate) async fn farewell(session: &mut Session, carrier: &mut impl Publish) {
    while let Some(transmit) = session.poll_transmit(now()) {
        if let Err(status) = carrier.publish(transmit).await {
            return log_limited!(debug, %status, "a session was ended without a word");
        }
    }
}

/// Tells the side what happened; whether anything did.
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
    carrier: &mut impl Publish,
    (mailbox, side): (&Mailbox<S::Command>, &mut S),
    began: Instant,
) -> Result<(), Status> {
    while let Some(transmit) = session.poll_transmit(began) {
        let mut publish = pin!(carrier.publish(transmit));
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
                // Calls that begin meanwhile have deadlines, too.
                () = mailbox.rung() => {
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
