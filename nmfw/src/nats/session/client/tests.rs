//! Tests of sessions over a pipe instead of NATS, with paused time: their lifetime without calls,
//! and how soon each side ends the calls of a dead peer.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::Subject;
use bytes::Bytes;
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use super::{
    Handle,
    calls::ClientCalls,
    command::{ClientCommand, CommandHead},
};
use crate::{
    Code, Metadata, Method, MethodSpec, ServiceSpec, Status,
    nats::session::{
        driver::{Mailbox, MailboxSignals, Publish, QueuedPacket, Side, drive, now},
        protocol::{Config, Event, MethodEntry, Methods, Session, SessionSecret, Site, Transmit},
    },
};
use nmfw_core::call::{body::chunk::Tally, request::Encoding, response::Response};

const IDLE: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(10);

static SPEC: ServiceSpec =
    ServiceSpec::new("calc", "Calc").with_methods(&[MethodSpec::unary("Add")]);

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    /// Packets are lost.
    Cut,
    /// Packets are lost, and the NATS server reports "no responders".
    Unsubscribed,
}

type Deliver = Arc<dyn Fn(QueuedPacket) + Send + Sync>;

/// One direction of the pipe.
struct Pipe {
    link: Arc<Mutex<Link>>,
    sent: Arc<AtomicUsize>,
    to_peer: Deliver,
    to_own: Deliver,
}

impl Publish for Pipe {
    async fn publish(&mut self, transmit: Transmit) -> Result<bool, Status> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let reply = transmit.with_reply.then(|| Subject::from_static("reply"));
        let link = *self.link.lock().unwrap();
        match link {
            Link::Up => (self.to_peer)(QueuedPacket {
                payload: transmit.packet,
                reply,
                is_no_responders: false,
            }),
            Link::Unsubscribed if transmit.with_reply => (self.to_own)(QueuedPacket {
                payload: Bytes::new(),
                reply: None,
                is_no_responders: true,
            }),
            Link::Cut | Link::Unsubscribed => {}
        }
        Ok(true)
    }

    fn learn(&mut self, _: Option<Subject>) -> Result<(), Status> {
        Ok(())
    }

    fn peer(&self) -> Subject {
        Subject::from_static("peer")
    }

    fn site(&self) -> Site {
        Site::default()
    }

    fn is_mapped(&self) -> bool {
        false
    }
}

/// A service that answers calls, or leaves them pending. Its outcomes are those of calls without an
/// answer.
#[derive(Default)]
struct Service {
    is_slow: bool,
    outcomes: Arc<Mutex<Vec<Status>>>,
}

impl Side for Service {
    type Command = ();

    fn on_command(&mut self, _: &mut Session, (): ()) {}

    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Message { stream, message } => session.consume(stream, Tally::of(message.len())),
            Event::Call {
                stream,
                message: Some(_),
                ..
            }
            | Event::End { stream }
                if !self.is_slow =>
            {
                let message = Bytes::from_static(b"answer");
                session.send_message(stream, message, true).unwrap();
            }
            Event::Finished { outcome, .. } => {
                self.outcomes.lock().unwrap().extend(outcome.err());
            }
            _ => {}
        }
    }

    fn settle(&mut self, _: &mut Session, _: &MailboxSignals, _: std::time::Instant) {}

    fn is_busy(&self) -> bool {
        false
    }
}

/// Both sides of a session, each with its task.
struct Pair {
    link: Arc<Mutex<Link>>,
    /// Number of packets of both sides.
    sent: Arc<AtomicUsize>,
    handle: Arc<Handle>,
    client: JoinHandle<()>,
    service: JoinHandle<()>,
    outcomes: Arc<Mutex<Vec<Status>>>,
}

impl Pair {
    /// Opens a session.
    async fn open(is_slow: bool) -> Self {
        let config = Config::default();
        let link = Arc::new(Mutex::new(Link::Up));
        let sent = Arc::<AtomicUsize>::default();
        let handle = Arc::new(Handle::new(config.packet_window));
        let mailbox = Arc::new(Mailbox::<()>::new(config.packet_window));
        let to_client: Deliver = {
            let mailbox = Arc::clone(&handle.mailbox);
            Arc::new(move |packet| mailbox.packet(packet))
        };
        let to_service: Deliver = {
            let mailbox = Arc::clone(&mailbox);
            Arc::new(move |packet| mailbox.packet(packet))
        };
        let pipe = |to_peer: &Deliver, to_own: &Deliver| Pipe {
            link: Arc::clone(&link),
            sent: Arc::clone(&sent),
            to_peer: Arc::clone(to_peer),
            to_own: Arc::clone(to_own),
        };

        let add = MethodEntry {
            index: 0,
            is_single: true,
        };
        let methods = Methods::from_iter([("Add".into(), add)]);
        let mut session =
            Session::server(config.clone(), "I1".to_owned(), &Arc::new(methods), now());
        let mut side = Service {
            is_slow,
            ..Service::default()
        };
        let outcomes = Arc::clone(&side.outcomes);
        let mut publisher = pipe(&to_client, &to_service);
        let service = tokio::spawn(async move {
            drive(&mut session, &mailbox, &mut publisher, &mut side).await;
        });

        let mut calls = ClientCalls::new(Weak::new(), Arc::downgrade(&handle));
        let mailbox = Arc::clone(&handle.mailbox);
        let mut session = Session::client(config, SessionSecret::new(*b"0123456789abcdef"), now());
        let mut publisher = pipe(&to_service, &to_client);
        let client = tokio::spawn(async move {
            drive(&mut session, &mailbox, &mut publisher, &mut calls).await;
        });

        let pair = Self {
            link,
            sent,
            handle,
            client,
            service,
            outcomes,
        };
        while !pair.handle.has_room() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pair
    }

    /// Makes a call.
    async fn call(&self) -> Result<Response, Status> {
        let method: Method = SPEC.method(0);
        let head = CommandHead {
            method,
            deadline: None,
            encoding: Encoding::Protobuf,
            metadata: Metadata::new(),
            trace: None,
        };
        let (sender, receiver) = oneshot::channel();
        let command = ClientCommand::Unary {
            head,
            body: Bytes::from_static(b"request"),
            sender,
        };
        self.handle.mailbox.command(command).unwrap();
        receiver.await.unwrap()
    }

    /// Breaks the link during a call. Returns the outcome of the call, and its time.
    async fn call_over(&self, link: Link) -> (Status, Duration) {
        let failing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            *self.link.lock().unwrap() = link;
            Instant::now()
        };
        let (outcome, failed) = tokio::join!(self.call(), failing);
        (outcome.unwrap_err(), failed.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_without_calls_ends_after_a_minute() {
    let pair = Pair::open(false).await;
    pair.call().await.unwrap();
    let (begin, before) = (Instant::now(), pair.sent.load(Ordering::Relaxed));
    pair.client.await.unwrap();
    let lasted = begin.elapsed();
    assert!(lasted >= IDLE && lasted < IDLE + HEARTBEAT, "{lasted:?}");
    pair.service.await.unwrap();
    assert!(begin.elapsed() < IDLE + HEARTBEAT, "{:?}", begin.elapsed());
    let sent = pair.sent.load(Ordering::Relaxed) - before;
    assert!(sent < 30, "{sent} packets in a minute");
    assert!(pair.outcomes.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_its_session() {
    let pair = Pair::open(true).await;
    let call = pair.call();
    let outcome = tokio::time::timeout(10 * IDLE, call).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(!pair.client.is_finished() && !pair.service.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_silent_is_dead_after_half_a_minute() {
    let pair = Pair::open(true).await;
    let (status, after) = pair.call_over(Link::Cut).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(!status.is_not_started(), "{status}");
    let dead = Config::default().dead_after;
    assert!(after > dead - HEARTBEAT && after <= dead, "{after:?}");
    pair.client.await.unwrap();

    // The service detects the loss of its client equally soon, and ends the call.
    pair.service.await.unwrap();
    let outcomes = pair.outcomes.lock().unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
}

/// Both sides ping after a heartbeat, and get "no responders".
#[tokio::test(start_paused = true)]
async fn a_peer_without_a_subscription_is_dead_sooner() {
    let pair = Pair::open(true).await;
    let (status, after) = pair.call_over(Link::Unsubscribed).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let vanished = HEARTBEAT + Config::default().vanished_after;
    assert!(after < vanished, "{after:?}");
    let begin = Instant::now();
    pair.client.await.unwrap();
    pair.service.await.unwrap();
    assert!(begin.elapsed() < vanished, "{:?}", begin.elapsed());
    assert_eq!(pair.outcomes.lock().unwrap().len(), 1);
}
