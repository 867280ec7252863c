//! The counts in STATS.

use std::time::Duration;

use async_nats::Client;
use nmfw::{Code, Status};
use nmfw_tests::puppet::{self, Blob, FailRequest, PuppetServer, SleepRequest, Strings};
use nmfw_tests::srv::{ask_one, endpoint};
use nmfw_tests::{TestBroker, eventually, on_both_brokers};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);

async fn plain(broker: &TestBroker) -> Client {
    async_nats::connect(broker.url()).await.unwrap()
}

async fn stats(client: &Client, method: &str) -> Value {
    let stats = ask_one(client, "$SRV.STATS.nmfw-puppet").await.unwrap();
    endpoint(&stats, method).unwrap().clone()
}

fn counts(stats: &Value) -> (u64, u64) {
    let count = |name: &str| stats[name].as_u64().unwrap();
    (count("num_requests"), count("num_errors"))
}

fn failure(message: &str) -> FailRequest {
    FailRequest {
        code: Code::NotFound.number(),
        message: message.to_owned(),
        ..FailRequest::default()
    }
}

on_both_brokers! {
    async fn requests_and_errors_by_method(broker: TestBroker) {
        let _service = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = plain(&broker).await;
        let caller = puppet::client(&broker.url()).await.unwrap();
        for _ in 0..3 {
            caller.echo(Blob::default()).await.unwrap();
        }
        caller.fail(failure("first")).await.unwrap_err();
        caller.fail(failure("second")).await.unwrap_err();
        caller.panic(()).await.unwrap_err();

        let echo = stats(&client, "Echo").await;
        assert_eq!((counts(&echo), &echo["last_error"]), ((3, 0), &"".into()), "{echo}");
        let fail = stats(&client, "Fail").await;
        assert_eq!((counts(&fail), &fail["last_error"]), ((2, 2), &"NOT_FOUND: second".into()), "{fail}");
        let panic = stats(&client, "Panic").await;
        assert_eq!(counts(&panic), (1, 1));
        assert!(panic["last_error"].as_str().unwrap().starts_with("INTERNAL: "), "{panic}");
        assert_eq!(counts(&stats(&client, "Inspect").await), (0, 0));
    }

    /// The last error is kept after later calls succeed.
    async fn an_error_is_remembered(broker: TestBroker) {
        let _service = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = plain(&broker).await;
        let caller = puppet::client(&broker.url()).await.unwrap();
        caller.fail(failure("once")).await.unwrap_err();
        caller.fail(FailRequest { code: 0, ..failure("") }).await.unwrap_err();
        let fail = stats(&client, "Fail").await;
        assert_eq!(counts(&fail), (2, 2));
        let long = "ä".repeat(5000);
        caller.fail(failure(&long)).await.unwrap_err();
        let fail = stats(&client, "Fail").await;
        let last = fail["last_error"].as_str().unwrap();
        assert!(last.starts_with("NOT_FOUND: ää") && last.len() <= 512, "{} {last}", last.len());
    }

    async fn time_is_that_of_handlers(broker: TestBroker) {
        let _service = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = plain(&broker).await;
        let caller = puppet::client(&broker.url()).await.unwrap();
        for millis in [60, 20] {
            caller.sleep(SleepRequest { millis }).await.unwrap();
        }
        let sleep = stats(&client, "Sleep").await;
        let nanos = |name: &str| sleep[name].as_u64().unwrap();
        let total = nanos("processing_time");
        assert!((80_000_000..20_000_000_000).contains(&total), "{sleep}");
        assert_eq!(nanos("average_processing_time"), total / 2);
        assert_eq!(stats(&client, "Echo").await["processing_time"], 0);
    }

    /// Requests that reach no handler still count as requests and errors.
    async fn what_is_turned_away_counts(broker: TestBroker) {
        let strings = Strings::default();
        let _service = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = plain(&broker).await;
        let mut expected = 0;
        let mut last = async |what: &str| {
            expected += 1;
            let echo = eventually(LIMIT, || async {
                let echo = stats(&client, "Echo").await;
                (counts(&echo) == (expected, expected)).then_some(echo)
            })
            .await;
            let last = echo["last_error"].as_str().unwrap();
            assert!(last.contains(what), "{what:?} in {last:?}");
        };
        let subject = "nmfw.nmfw.puppet.Echo";
        client.request(subject, b"\x0a\xff".as_slice().into()).await.unwrap();
        last("INVALID_ARGUMENT").await;
        client.publish(subject, "".into()).await.unwrap();
        last("without a reply subject").await;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nmfw", "1;t=0");
        client.request_with_headers(subject, headers, "".into()).await.unwrap();
        last("DEADLINE_EXCEEDED").await;
        assert_eq!(strings.started(), 0);
    }

    async fn load_shows_while_it_lasts(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = PuppetServer::new(strings.clone()).concurrency(2).queue(3);
        let server = nmfw::Server::new(nats).add_service(service).start().await.unwrap();
        let client = plain(&broker).await;
        let caller = puppet::client(&broker.url()).await.unwrap();
        let calls: Vec<_> = (0..4)
            .map(|_| tokio::spawn(caller.sleep(SleepRequest { millis: 29_000 }).send()))
            .collect();
        let load = async |running: u64, waiting: u64| {
            eventually(LIMIT, || async {
                let data = stats(&client, "Sleep").await["data"].clone();
                let seen = (data["running"].as_u64(), data["waiting"].as_u64());
                if seen == (Some(running), Some(waiting)) { Ok(data) } else { Err(data) }
            })
            .await
        };
        let data = load(2, 2).await;
        assert_eq!((&data["concurrency"], &data["queue"]), (&2.into(), &3.into()));
        assert_eq!(counts(&stats(&client, "Sleep").await), (0, 0), "counted when they end");
        server.force_stop();
        server.join().await.unwrap();
        for call in calls {
            let status: Status = call.await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
        }
    }
}
