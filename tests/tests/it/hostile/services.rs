//! Services that are broken or hostile: their cost to callers is bounded, and callers find other
//! instances.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nmfw::{
    Channel, Code, NatsChannel as _, Server, Status,
    client::{HedgeLayer, RetryBudget, RetryLayer},
    middleware,
};
use nmfw_tests::{
    TestBroker, eventually,
    foreign_peer::{headers, subject},
    on_both_brokers,
    packets::{OFFER, Seal, frame, kind, number, packet, secret_of},
    puppet::{self, Blob, PuppetClient, PuppetServer, Strings},
    round_trip,
    streams::{self, CountRequest, Flows, STREAMS_SPEC, StreamsClient, StreamsServer},
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

/// The budget of a channel before any of its calls has succeeded.
const FIRST: u64 = 1000;

/// Refuses each call as not started, and counts the requests.
async fn refuse_all(broker: &TestBroker) -> (Arc<AtomicU64>, nmfw::server::Running) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let refuse = middleware::from_fn(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Err(Status::unavailable("come back later").not_started()) }
    });
    let server = Server::new(nmfw::connect(broker.url()).await.unwrap())
        .add_service(PuppetServer::new(Strings::default()).layer(refuse.clone()))
        .add_service(StreamsServer::new(Flows::default()).layer(refuse));
    (asked, server.start().await.unwrap())
}

/// Makes many concurrent calls, and returns how many ended as not started.
async fn many<T, F>(count: usize, call: impl Fn() -> F) -> usize
where
    F: Future<Output = Result<T, Status>>,
{
    let calls = stream::iter(0..count).map(|_| call()).buffer_unordered(50);
    let refused = calls.filter(|outcome| {
        let is_refused = outcome.as_ref().err().is_some_and(|status| {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.message().contains("come back later"), "{status}");
            status.is_not_started()
        });
        std::future::ready(is_refused)
    });
    timeout(LIMIT, refused.count()).await.unwrap()
}

on_both_brokers! {
    async fn calls_that_nobody_starts_are_sent_within_a_budget(broker: TestBroker) {
        let (asked, running) = refuse_all(&broker).await;
        let asked = || asked.swap(0, Ordering::Relaxed);
        let channel = async || Channel::new(nmfw::connect(broker.url()).await.unwrap());
        let count = 1000;
        for channel in [channel().await, channel().await.multiplexed()] {
            let (client, streams) = (PuppetClient::new(channel.clone()), StreamsClient::new(channel));
            assert_eq!(many(count, || client.echo(Blob::default()).send()).await, count);
            let sent = asked();
            assert!((count as u64 * 3 / 2..=count as u64 + FIRST).contains(&sent), "{sent} sent");
            // The budget for this service is used up.
            assert_eq!(many(100, || client.echo(Blob::default()).send()).await, 100);
            assert_eq!(asked(), 100);
            // Another service has its own budget.
            let count_up = || streams.count(CountRequest::default()).send();
            assert_eq!(many(10, count_up).await, 10);
            assert_eq!(asked(), 50);
        }
        // Layers use the budget too: each repeated call costs one.
        let retry = RetryLayer::new().max_attempts(4).budget(RetryBudget::new().min_per_second(100_000).max_ratio(1.0));
        let client = PuppetClient::new(channel().await.layer(retry.backoff(Duration::ZERO, Duration::ZERO)));
        assert_eq!(many(count, || client.echo(Blob::default()).send()).await, count);
        let sent = asked();
        assert!(sent <= count as u64 + FIRST, "{sent} sent");
        running.stop();
        running.join().await.unwrap();
    }

    /// A hedge that is not sent for lack of budget does not end the call.
    async fn hedges_end_with_the_budget(broker: TestBroker) {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let hang = middleware::from_fn(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<_, Status>>()
        });
        let service = PuppetServer::new(Strings::default()).layer(hang);
        let server = Server::new(nmfw::connect(broker.url()).await.unwrap()).add_service(service);
        let running = server.start().await.unwrap();
        let hedge = HedgeLayer::new().after(Duration::from_millis(1)).budget(RetryBudget::new().min_per_second(100_000).max_ratio(1.0));
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = PuppetClient::new(Channel::new(nats).layer(hedge));
        let echo = || {
            let echo = client.echo(Blob::default()).timeout(Duration::from_millis(50));
            echo.send()
        };
        // With a full budget, a call is hedged.
        let first = tokio::spawn(client.echo(Blob::default()).timeout(LIMIT).send());
        eventually(LIMIT, async || match asked.load(Ordering::Relaxed) {
            2.. => Ok(()),
            sent => Err(format!("{sent} sent")),
        })
        .await;
        first.abort();
        let count = 2_000;
        let late = stream::iter(0..count).map(|_| echo()).buffer_unordered(50);
        let late = late.filter(|outcome| {
            let code = outcome.as_ref().err().map(Status::code);
            std::future::ready(code == Some(Code::DeadlineExceeded))
        });
        assert_eq!(timeout(LIMIT, late.count()).await.unwrap(), count);
        let sent = asked.load(Ordering::Relaxed);
        assert!(sent <= 2 + count as u64 + FIRST, "{sent} sent");
        running.stop();
        running.join().await.unwrap();
    }

    /// False claims of a hostile service cost its caller one attempt.
    async fn lies_in_accept(broker: TestBroker) {
        let service = async_nats::connect(broker.url()).await.unwrap();
        let base = STREAMS_SPEC.base_subject();
        let own = format!("{base}._i.I1.s.1");
        let mut opening = service.subscribe(format!("{base}._open")).await.unwrap();
        let mut packets = service.subscribe(own.clone()).await.unwrap();
        round_trip(&service, LIMIT).await.unwrap();
        let offer = OFFER;
        let field = |id: u64, value: &[u8]| [&number(id), &number(value.len() as u64), value].concat();
        let most = number((1 << 62) - 1);
        let largest: Vec<_> = (1..=5).map(|id| field(id, &most)).collect();
        let name = |len: usize| [number(len as u64), vec![b'm'; len]].concat();
        let methods = |count: usize, len: usize| field(8, &name(len).repeat(count));
        let lies: Vec<(&str, Vec<u8>)> = vec![
            ("no streams", [offer, &field(6, &[0]), &field(7, b"I1")].concat()),
            ("the largest numbers", [&largest.concat()[..], &field(6, &most), &field(7, b"I1")].concat()),
            ("many methods", [offer, &field(6, &[8]), &field(7, b"I1"), &methods(4096, 200)].concat()),
            ("too many methods", [offer, &field(6, &[8]), &methods(5000, 1)].concat()),
            ("a large name of a method", [offer, &field(6, &[8]), &methods(1, 900_000)].concat()),
            ("a large name", [offer, &field(6, &[8]), &field(7, &vec![b'I'; 900_000])].concat()),
            ("nothing", vec![]),
            ("fields twice", [offer, offer].concat()),
        ];
        for (what, body) in lies {
            let nats = nmfw::connect(broker.url()).await.unwrap();
            let client = StreamsClient::new(Channel::new(nats).max_attempts(2));
            let begin = Instant::now();
            let call = client.count(CountRequest::default()).timeout(Duration::from_secs(8));
            let mut call = std::pin::pin!(call.send());
            let accept = packet(0, 0, &[frame(0, kind::ACCEPT, &body)]);
            let outcome = loop {
                tokio::select! {
                    outcome = &mut call => break outcome,
                    open = opening.next() => {
                        let open = open.unwrap();
                        let seal = Seal::service(secret_of(&open.payload));
                        let inbox = open.reply.unwrap();
                        let accept = seal.seal(accept.clone());
                        let sent = service.publish_with_reply(inbox.clone(), own.clone(), accept.into());
                        sent.await.unwrap();
                        let pong = seal.seal(packet(0, 0, &[frame(0, kind::PONG, &number(0))]));
                        service.publish(inbox, pong.into()).await.unwrap();
                    }
                    // The service answers nothing else.
                    _ = packets.next() => {}
                }
            };
            let status = outcome.err().unwrap();
            assert!(begin.elapsed() < LIMIT / 2, "{what}: {status}");
            assert_ne!(status.code(), Code::Unknown, "{what}: {status}");
            assert!(status.message().len() < 1000, "{what}: {}", status.message().len());
        }
        drop((opening, packets));
        // With an honest instance, the next call succeeds.
        let _running = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let mut count = client.count(CountRequest { to: 1, ..CountRequest::default() }).await.unwrap();
        assert_eq!(count.message().await.unwrap().unwrap().number, 0);
    }

    /// Any client can answer discovery: invalid answers are skipped.
    async fn waiting_for_a_service_among_hostile_answers(broker: TestBroker) {
        let hostile = async_nats::connect(broker.url()).await.unwrap();
        let mut asked = hostile.subscribe("$SRV.INFO.>").await.unwrap();
        let mut all = hostile.subscribe("$SRV.INFO").await.unwrap();
        round_trip(&hostile, LIMIT).await.unwrap();
        let deep = "[".repeat(100_000);
        let names = format!("{{\"endpoints\":[{}]}}", vec!["{\"subject\":\"\u{1b}[2J\"}"; 10_000].join(","));
        let large = format!("{{\"subjects\":[\"{}\"]}}", "other.Echo".repeat(10_000));
        let lies = [deep, names, large, "{".into(), "{\"endpoints\":null}".into(), String::new()];
        let answering = async {
            loop {
                let question = tokio::select! {
                    question = asked.next() => question,
                    question = all.next() => question,
                };
                let reply = question.unwrap().reply.unwrap();
                for lie in lies.iter().cycle().take(60) {
                    hostile.publish(reply.clone(), lie.clone().into()).await.unwrap();
                }
            }
        };
        let waiting = async {
            let client = puppet::client(&broker.url()).await.unwrap();
            let waits = client.clone();
            let ready = tokio::spawn(async move { waits.wait_ready(LIMIT).await });
            tokio::time::sleep(Duration::from_millis(300)).await;
            if ready.is_finished() {
                panic!("the wait ended: {:?}", ready.await);
            }
            let _running = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
            ready.await.unwrap().unwrap();
            client.echo(Blob::default()).await.unwrap();
        };
        tokio::select! {
            () = answering => {}
            () = waiting => {}
        }
    }

    /// Only the first reply counts.
    async fn a_thousand_replies_to_each_request(broker: TestBroker) {
        let hostile = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = hostile.subscribe(subject("Echo")).await.unwrap();
        round_trip(&hostile, LIMIT).await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let answering = async {
            while let Some(request) = requests.next().await {
                let reply = request.reply.unwrap();
                hostile.publish(reply.clone(), request.payload.clone()).await.unwrap();
                for _ in 0..1000 {
                    let error = headers(&[("Nmfw-Status", "14;not-started")]);
                    hostile.publish_with_headers(reply.clone(), error, "".into()).await.unwrap();
                }
            }
        };
        let calls = async {
            for n in 0..100_u8 {
                let echo = client.echo(Blob { data: vec![n] }).timeout(LIMIT).await.unwrap();
                assert_eq!(echo.data, [n]);
            }
        };
        tokio::select! {
            () = answering => {}
            () = calls => {}
        }
    }
}
