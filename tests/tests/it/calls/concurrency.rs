//! Many concurrent calls: limits, queues, refusals, deadlines, and the resources that calls leave
//! behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nmfw::server::{Running, Service};
use nmfw::{Channel, Code, NatsChannel as _, Server};
use nmfw_tests::foreign_peer::{bytes, status_of, subject};
use nmfw_tests::puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::{TestBroker, eventually, on_both_brokers, round_trip};
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

async fn start(broker: &TestBroker, service: Service) -> Running {
    let nats = nmfw::connect(broker.url()).await.unwrap();
    Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap()
}

async fn channel(broker: &TestBroker) -> Channel {
    Channel::new(nmfw::connect(broker.url()).await.unwrap())
}

const fn sleep(millis: u64) -> SleepRequest {
    SleepRequest { millis }
}

on_both_brokers! {
    async fn handlers_run_at_the_same_time(broker: TestBroker) {
        let strings = Strings::default();
        let _running = start(&broker, PuppetServer::new(strings.clone())).await;
        let client = PuppetClient::new(channel(&broker).await);
        let mut calls = JoinSet::new();
        for _ in 0..500 {
            calls.spawn(client.sleep(sleep(20_000)).send());
        }
        eventually(LIMIT, || async { strings.started() == 500 }).await;
        assert_eq!(strings.finished(), 0);
        // Another method has its own limit, and does not wait for this one.
        client.echo(Blob::default()).await.unwrap();
    }

    async fn a_method_runs_as_many_as_it_may_and_queues_in_order(broker: TestBroker) {
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone())
            .concurrency(3)
            .method("Sleep", |limits| limits.concurrency(1).queue(50));
        let _running = start(&broker, service).await;
        let client = PuppetClient::new(channel(&broker).await);
        // Limited to one at a time: otherwise each handler would overlap with the one before.
        let done = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut calls = JoinSet::new();
        for i in 0..20 {
            let (call, done) = (client.sleep(sleep(10)), Arc::clone(&done));
            calls.spawn(async move {
                call.await.unwrap();
                done.lock().unwrap().push(i);
            });
        }
        while !calls.is_empty() {
            let under_way = strings.started() - strings.finished();
            assert!(under_way <= 1, "{under_way} concurrent handlers");
            let _ = timeout(Duration::from_millis(1), calls.join_next()).await;
        }
        assert_eq!((strings.started(), done.lock().unwrap().len()), (20, 20));
    }

    /// A service refuses calls beyond its queue, but loses none: each request gets an answer.
    async fn a_flood_gets_an_answer_each(broker: TestBroker) {
        const REQUESTS: usize = 5_000;
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone()).concurrency(2).queue(3);
        let _running = start(&broker, service).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut replies = plain.subscribe("flood.*").await.unwrap();
        round_trip(&plain, LIMIT).await.unwrap();

        let payload = bytes(&sleep(50));
        let sender = plain.clone();
        let sending = tokio::spawn(async move {
            for i in 0..REQUESTS {
                let reply = format!("flood.{i}");
                let payload = payload.clone().into();
                sender.publish_with_reply(subject("Sleep"), reply, payload).await.unwrap();
            }
            sender.flush().await.unwrap();
        });
        let mut answers: HashMap<String, bool> = HashMap::new();
        while answers.len() < REQUESTS {
            let reply = timeout(LIMIT, replies.next()).await;
            let count = answers.len();
            let reply = reply.unwrap_or_else(|_| panic!("only {count} answers")).unwrap();
            let refused = match status_of(&reply) {
                ("", "") => false,
                ("8;not-started", text) => text.contains("busy"),
                other => panic!("{other:?}"),
            };
            let before = answers.insert(reply.subject.to_string(), refused);
            assert!(before.is_none(), "two answers on {}", reply.subject);
        }
        sending.await.unwrap();
        let body = plain.request("$SRV.STATS.nmfw-puppet", "".into()).await.unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&body.payload).unwrap();
        let endpoint = &stats["endpoints"][1];
        assert_eq!(endpoint["num_requests"], REQUESTS);
        let refused = answers.values().filter(|refused| **refused).count();
        assert_eq!(endpoint["num_errors"], refused);
        assert_eq!(strings.started(), (REQUESTS - refused) as u64);
        assert!(strings.started() >= 5, "admitted requests run");
        assert!(refused > 1_000, "only {refused} requests were refused, so the service was not \
                                  overloaded");
        // No answer arrives twice or late.
        round_trip(&plain, LIMIT).await.unwrap();
        assert!(timeout(Duration::from_millis(100), replies.next()).await.is_err());
    }

    async fn another_instance_takes_what_one_refuses(broker: TestBroker) {
        let (full, free) = (Strings::default(), Strings::default());
        let service = PuppetServer::new(full.clone()).concurrency(1).queue(0);
        let _full = start(&broker, service).await;
        let client = PuppetClient::new(channel(&broker).await);
        let first = tokio::spawn(client.sleep(sleep(20_000)).send());
        eventually(LIMIT, || async { full.started() == 1 }).await;

        let refused = client.sleep(sleep(1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.is_not_started());

        let _free = start(&broker, PuppetServer::new(free.clone())).await;
        // With one attempt, about half of the calls reach the full instance.
        let once = PuppetClient::new(channel(&broker).await.max_attempts(1));
        let mut failed = 0;
        for _ in 0..60 {
            if let Err(status) = once.sleep(sleep(0)).await {
                assert!(status.is_not_started(), "{status}");
                failed += 1;
            }
        }
        assert!((1..60).contains(&failed), "{failed} of 60 were refused");
        // With many attempts, all calls find the other instance: the chance to miss it is 2^-30.
        let many = PuppetClient::new(channel(&broker).await.max_attempts(30));
        let before = free.started();
        for _ in 0..60 {
            many.sleep(sleep(0)).await.unwrap();
        }
        assert_eq!(free.started(), before + 60);
        assert_eq!(full.started(), 1);
        first.abort();
    }

    async fn repeating_ends_at_the_deadline(broker: TestBroker) {
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone()).concurrency(1).queue(0);
        let _running = start(&broker, service).await;
        let client = PuppetClient::new(channel(&broker).await.max_attempts(u32::MAX));
        let _first = tokio::spawn(client.sleep(sleep(20_000)).send());
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        // At the deadline, the status contains the reason for the delay, and marks the call as not
        // started. The exception is a call whose last attempt is in flight at that moment.
        eventually(LIMIT, || async {
            let call = client.sleep(sleep(1)).timeout(Duration::from_millis(300));
            let status = call.await.unwrap_err();
            status.code() == Code::ResourceExhausted && status.is_not_started()
        })
        .await;
        assert_eq!(strings.started(), 1);
    }

    async fn a_panic_is_internal_and_the_service_lives_on(broker: TestBroker) {
        let strings = Strings::default();
        let _running = start(&broker, PuppetServer::new(strings.clone()).concurrency(2)).await;
        let client = PuppetClient::new(channel(&broker).await);
        for _ in 0..10 {
            let status = client.panic(()).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal);
            assert!(!status.message().contains("as requested"), "the caller received the panic's text");
        }
        // The permits were returned; otherwise these calls would wait forever.
        client.echo(Blob::default()).await.unwrap();
        assert_eq!(strings.dropped(), 10);
    }

    async fn queue_groups(broker: TestBroker) {
        // Two instances without a group, and two groups of two.
        let groups = [None, None, Some("a"), Some("a"), Some("b"), Some("b")];
        let each: Vec<_> = groups.iter().map(|_| Strings::default()).collect();
        let mut running = Vec::new();
        for (group, strings) in groups.iter().zip(&each) {
            let service = PuppetServer::new(strings.clone());
            let service = match group {
                None => service.no_queue_group(),
                // One method stays in its own group.
                Some(group) => service
                    .queue_group(*group)
                    .method("Inspect", |limits| limits.queue_group("inspectors")),
            };
            running.push(start(&broker, service).await);
        }
        let client = PuppetClient::new(channel(&broker).await);
        for _ in 0..50 {
            client.echo(Blob::default()).await.unwrap();
        }
        let sum = |range: std::ops::Range<usize>| each[range].iter().map(Strings::started).sum::<u64>();
        eventually(LIMIT, || async { sum(0..6) == 200 }).await;
        assert_eq!((each[0].started(), each[1].started()), (50, 50));
        assert_eq!((sum(2..4), sum(4..6)), (50, 50));
        // Instances without a group run it too: three in all, and the caller takes the first
        // answer.
        client.inspect(()).await.unwrap();
        eventually(LIMIT, || async { sum(0..6) == 203 }).await;
        assert_eq!(sum(2..6), 101);
    }

    async fn a_deadline_ends_both_sides(broker: TestBroker) {
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone()).concurrency(2).queue(10);
        let _running = start(&broker, service).await;
        let client = PuppetClient::new(channel(&broker).await);
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for i in 0..5_u64 {
            let timeout = Duration::from_millis(if i < 2 { 600 } else { 300 });
            calls.spawn(client.sleep(sleep(20_000)).timeout(timeout).send());
            // The first two run before the others are sent.
            eventually(LIMIT, || async { strings.started() >= 2.min(i + 1) }).await;
        }
        for outcome in calls.join_all().await {
            assert_eq!(outcome.unwrap_err().code(), Code::DeadlineExceeded);
        }
        assert!(began.elapsed() < LIMIT / 2, "took {:?}", began.elapsed());
        // Two ran and were dropped; three waited and never ran. All freed their places.
        eventually(LIMIT, || async { strings.dropped() == 2 }).await;
        client.sleep(sleep(1)).await.unwrap();
        assert_eq!((strings.started(), strings.finished()), (3, 1));
    }
}
