//! Clients that use as many resources of a service as their permissions allow, and read nothing:
//! calls of others still succeed, and honest clients lose nothing.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all, stream};
use nmfw::{
    Channel, Code, ConnectOptions, NatsChannel as _, Server, Streaming,
    server::{Running, Service},
};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    packets::{OPEN, RawSession, call, first_kind, frame, kind, number, packet},
    puppet::{self, PuppetClient, PuppetServer, SleepRequest, Strings},
    round_trip,
    streams::{self, CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient, StreamsServer},
};
use tokio::{task::JoinSet, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// The maximum stall of a caller according to the documentation.
const MAX_STALL: Duration = Duration::from_secs(10);

/// Room for sessions: the first two get 64 packets, the others 8, of half of this.
const CAPACITY: usize = 512;
const PLACES: usize = 18;

/// Starts a service that has room for few sessions.
async fn serve_few(broker: &TestBroker, service: Service) -> Running {
    let options = ConnectOptions::new().subscription_capacity(CAPACITY);
    let nats = options.connect(broker.url()).await.unwrap();
    Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap()
}

fn forever() -> CountRequest {
    CountRequest {
        to: u64::MAX,
        pause_micros: 1000,
        ..CountRequest::default()
    }
}

/// Returns a request for a stream that fills every buffer.
fn torrent() -> CountRequest {
    CountRequest {
        to: u64::MAX,
        size: 60_000,
        ..CountRequest::default()
    }
}

async fn count(client: &StreamsClient) {
    let request = CountRequest {
        to: 3,
        ..CountRequest::default()
    };
    let mut count = client.count(request).await.unwrap();
    while count.message().await.unwrap().is_some() {}
}

/// Starts a call, and reads only the first answer.
async fn holding(client: &StreamsClient) -> Streaming<Item> {
    let mut held = client.count(torrent()).await.unwrap();
    held.message().await.unwrap();
    held
}

/// Returns the code that ends the stream.
async fn end_of(mut stream: Streaming<Item>) -> Code {
    loop {
        match timeout(LIMIT, stream.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

on_both_brokers! {
    /// Idle clients hold all places. New clients get a place, and the idle ones get another as soon
    /// as they call.
    async fn idle_sessions_keep_nobody_out(broker: TestBroker) {
        let flows = Flows::default();
        let _running = serve_few(&broker, StreamsServer::new(flows.clone())).await;
        let mut idle = Vec::new();
        for _ in 0..PLACES {
            let client = streams::client(&broker.url()).await.unwrap();
            count(&client).await;
            idle.push(client);
        }
        let mut new = Vec::new();
        for _ in 0..PLACES / 2 {
            let client = streams::client(&broker.url()).await.unwrap();
            count(&client).await;
            new.push(client);
        }
        for client in idle.iter().chain(&new) {
            count(client).await;
        }
        assert_eq!(flows.finished(), flows.started());
    }

    /// One client has a call in each of its sessions. Its calls continue for a while.
    async fn one_clients_busy_sessions_keep_nobody_out_for_long(broker: TestBroker) {
        let _running = serve_few(&broker, StreamsServer::new(Flows::default())).await;
        let mut held = JoinSet::new();
        for _ in 0..PLACES {
            let options = ConnectOptions::new().inbox_prefix("_INBOX_greedy");
            let nats = options.connect(broker.url()).await.unwrap();
            let client = StreamsClient::new(Channel::new(nats));
            let mut count = client.count(forever()).await.unwrap();
            count.message().await.unwrap();
            held.spawn(async move {
                let code = end_of(count).await;
                drop(client);
                code
            });
        }
        let new = streams::client(&broker.url()).await.unwrap();
        let begin = Instant::now();
        eventually(LIMIT, || new.count(CountRequest::default()).send()).await;
        assert!(begin.elapsed() < MAX_STALL * 2, "{:?}", begin.elapsed());
        let ended = timeout(LIMIT, held.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(ended, Code::ResourceExhausted);
        // The client keeps its share.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(held.len() >= PLACES / 4, "{} sessions are left", held.len());
    }

    /// Honest clients that connect all at once, as after a restart of a NATS server, are served.
    async fn a_thousand_clients_come_at_once(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let ping = packet(0, 0, &[frame(0, kind::PING, &number(0))]);
        let sessions = (0..1000).map(|_| async {
            let mut session = RawSession::open(&plain, STREAMS_SPEC.base_subject()).await?;
            session.send(ping.clone()).await?;
            let pong = session.next().await?;
            assert_eq!(first_kind(&pong.payload), Some(kind::PONG));
            Ok::<_, nmfw_tests::Failure>(session)
        });
        for session in join_all(sessions).await {
            session.unwrap();
        }
        count(&streams::client(&broker.url()).await.unwrap()).await;
    }

    /// OPENs without further packets are answered within a rate limit, and do not affect others.
    async fn a_flood_of_opens(broker: TestBroker) {
        const FLOOD: usize = 20_000;

        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let before = streams::client(&broker.url()).await.unwrap();
        let mut open = before.count(forever()).await.unwrap();
        open.message().await.unwrap();

        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut answers = plain.subscribe("_INBOX.flood.>").await.unwrap();
        let reader = tokio::spawn(async move {
            let (mut accepted, mut refused) = (0, 0);
            while let Ok(Some(answer)) = timeout(Duration::from_secs(3), answers.next()).await {
                match first_kind(&answer.payload) {
                    Some(kind::ACCEPT) => accepted += 1,
                    Some(kind::CLOSE) => refused += 1,
                    _ => {}
                }
            }
            (accepted, refused, Instant::now())
        });
        let begin = Instant::now();
        let subject = format!("{}._open", STREAMS_SPEC.base_subject());
        for n in 0..FLOOD {
            let reply = format!("_INBOX.flood.{n}");
            plain.publish_with_reply(subject.clone(), reply, OPEN.into()).await.unwrap();
        }
        round_trip(&plain, LIMIT).await.unwrap();

        // Another client connects, and the first one continues.
        let new = streams::client(&broker.url()).await.unwrap();
        eventually(LIMIT, || new.count(CountRequest::default()).send()).await;
        eventually(LIMIT, || before.count(CountRequest::default()).send()).await;
        open.message().await.unwrap();

        let (accepted, closed, end) = reader.await.unwrap();
        let seconds = usize::try_from((end - begin).as_secs() + 1).unwrap();
        assert!(accepted <= 4096 + 500 * seconds, "{accepted} were accepted");
        // Each accepted session is closed, at the latest when its time is up.
        let most = 4096 + 256 + 600 * seconds;
        assert!(closed <= most, "{closed} were closed in {seconds} s");
        assert!(closed < FLOOD, "no OPEN was dropped");
        count(&new).await;
    }

    /// Callers that read nothing hold all places of a method until another call needs one.
    async fn callers_that_take_nothing_give_their_places_to_others(broker: TestBroker) {
        let service = StreamsServer::new(Flows::default()).concurrency(3);
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats).add_service(service).start().await.unwrap();
        let greedy = streams::client(&broker.url()).await.unwrap();
        let held = [holding(&greedy).await, holding(&greedy).await];
        // This caller is slow, but reads all the time.
        let slow = streams::client(&broker.url()).await.unwrap();
        let slow = tokio::spawn(async move {
            let mut slow = holding(&slow).await;
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                for _ in 0..40 {
                    slow.message().await.unwrap();
                }
            }
        });
        let other = streams::client(&broker.url()).await.unwrap();
        eventually(LIMIT, || async {
            let status = other.count(forever()).await.err();
            status.is_some_and(|status| status.code() == Code::ResourceExhausted)
        })
        .await;
        // Only the two slots are freed whose streams have stalled for long enough, not the third.
        let begin = Instant::now();
        let mut counts = Vec::new();
        for _ in 0..2 {
            let count = eventually(LIMIT, || async {
                let status = match other.count(forever()).await {
                    Ok(count) => return Some(count),
                    Err(status) => status,
                };
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.is_not_started());
                None
            });
            counts.push(count.await);
        }
        assert!(begin.elapsed() < MAX_STALL * 2, "{:?}", begin.elapsed());
        for held in held {
            assert_eq!(end_of(held).await, Code::ResourceExhausted);
        }
        slow.await.unwrap();
    }

    /// Callers send nothing to a service that waits for them.
    async fn callers_that_say_nothing_keep_no_more_than_their_share(broker: TestBroker) {
        let service = StreamsServer::new(Flows::default()).concurrency(4);
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats).add_service(service).start().await.unwrap();
        let greedy = streams::client(&broker.url()).await.unwrap();
        let mut silent = JoinSet::new();
        let chat = greedy.chat(stream::pending::<Item>()).await.unwrap();
        silent.spawn(end_of(chat));
        for _ in 0..3 {
            let chat = greedy.chat(stream::pending::<Item>()).await.unwrap();
            silent.spawn(end_of(chat));
            let sum = greedy.sum(stream::pending::<Item>()).send();
            silent.spawn(async { sum.await.unwrap_err().code() });
        }
        let sum = greedy.sum(stream::pending::<Item>()).send();
        silent.spawn(async { sum.await.unwrap_err().code() });
        let other = streams::client(&broker.url()).await.unwrap();
        let mut open = Vec::new();
        for _ in 0..3 {
            eventually(LIMIT, || other.sum(streams::items(0, 10, 10)).send()).await;
            let chat = eventually(LIMIT, || {
                other.chat(stream::pending::<Item>()).send()
            });
            open.push(chat.await);
        }
        // One stream of each kind keeps its slot, which is a quarter.
        for _ in 0..3 {
            let code = timeout(LIMIT, silent.join_next()).await.unwrap().unwrap().unwrap();
            assert_eq!(code, Code::ResourceExhausted);
        }
        assert!(other.chat(stream::pending::<Item>()).await.is_err());
    }

    /// A caller may pause for any time unless another call needs its place.
    async fn a_stream_may_pause_as_long_as_nobody_waits(broker: TestBroker) {
        let service = StreamsServer::new(Flows::default()).concurrency(1);
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats).add_service(service).start().await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let mut held = holding(&client).await;
        tokio::time::sleep(MAX_STALL + Duration::from_secs(3)).await;
        for number in 1..500 {
            assert_eq!(held.message().await.unwrap().unwrap().number, number);
        }
    }

    /// Deadlines run from the arrival of a call, even if it is incomplete.
    async fn calls_whose_messages_never_come(broker: TestBroker) {
        let flows = Flows::default();
        let service = StreamsServer::new(flows.clone()).timeout(Duration::from_millis(300));
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats).add_service(service).start().await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut session = RawSession::open(&plain, STREAMS_SPEC.base_subject()).await.unwrap();
        // The method's timeout for one call, and a deadline for a call that streams its answers;
        // the last has begun to send its message.
        let mut in_time = number(400);
        in_time.extend([&number(5)[..], b"Count"].concat());
        let frames = [
            call(1, "Echo"),
            frame(2, kind::CALL, &in_time),
            call(3, "Echo"),
            frame(3, kind::MSG | 0x20, b"part"),
        ];
        session.send(packet(1, 0, &frames)).await.unwrap();
        // STATUS, not started, DEADLINE_EXCEEDED.
        let refusal = |stream: u8| [stream, 0x26];
        let mut late = Vec::new();
        let begin = Instant::now();
        while late.len() < 3 {
            let message = session.next().await.unwrap();
            for stream in 1..=3 {
                let at = message.payload.windows(2).position(|two| two == refusal(stream));
                if at.is_some() && !late.contains(&stream) {
                    late.push(stream);
                }
            }
        }
        assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
        assert_eq!(flows.started(), 0);
    }
}

/// One client fills the queue of a method; calls of another client still get their turn, and the
/// first client's newest calls make room.
async fn take_turns(broker: TestBroker, is_multiplexed: bool) {
    const QUEUE: usize = 8;

    let strings = Strings::default();
    let service = PuppetServer::new(strings.clone())
        .concurrency(1)
        .queue(QUEUE);
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let _running = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let client = || async {
        let channel = Channel::new(nmfw::connect(broker.url()).await.unwrap()).max_attempts(1);
        let client = PuppetClient::new(match is_multiplexed {
            true => channel.multiplexed(),
            false => channel,
        });
        eventually(LIMIT, || async {
            let seen = client.inspect(()).await.unwrap();
            seen.reply.contains(".s.") == is_multiplexed
        })
        .await;
        client
    };
    let (greedy, modest) = (client().await, client().await);
    let sleep = |client: &PuppetClient, millis| {
        let call = client.sleep(SleepRequest { millis });
        tokio::spawn(call.timeout(LIMIT).send())
    };
    let load = async |expected| {
        let url = broker.url();
        eventually(LIMIT, || async {
            match puppet::sleep_load(&url).await.unwrap() {
                load if load == expected => Ok(()),
                load => Err(format!("{load:?} calls run and are queued")),
            }
        })
        .await;
    };
    let before = strings.finished();
    let first = sleep(&greedy, 5000);
    load((1, 0)).await;
    let greedy = [(); QUEUE].map(|()| sleep(&greedy, 200));
    load((1, QUEUE as u64)).await;
    let modest = [(); 2].map(|()| sleep(&modest, 200));
    for call in join_all(modest).await {
        call.unwrap().unwrap();
    }
    // Every second turn belonged to the other client.
    let finished = strings.finished() - before;
    assert!(
        (3..=6).contains(&finished),
        "{finished} calls of the other client completed before"
    );
    first.await.unwrap().unwrap();
    let outcomes = join_all(greedy).await;
    let outcomes = outcomes.into_iter().map(Result::unwrap);
    let displaced: Vec<_> = outcomes.filter_map(Result::err).collect();
    assert_eq!(displaced.len(), 2, "{displaced:?}");
    for status in displaced {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.is_not_started());
        assert!(status.message().contains("displaced"), "{status}");
    }
}

on_both_brokers! {
    async fn clients_take_turns_in_base_mode(broker: TestBroker) {
        take_turns(broker, false).await;
    }

    async fn clients_take_turns_in_sessions(broker: TestBroker) {
        take_turns(broker, true).await;
    }
}
