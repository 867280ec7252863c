//! Health checks of a server: the answers to clients while a check fails, and the reports of the
//! failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nmfw::{
    Channel, Code, NatsChannel as _, Server,
    server::{Running, Serving},
};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    puppet::{Blob, PuppetClient, PuppetServer, SleepRequest, Strings},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// Starts a server whose check fails while `database` is false.
async fn serve(broker: &TestBroker, strings: &Strings, database: &Arc<AtomicBool>) -> Running {
    let database = Arc::clone(database);
    Server::new(nmfw::connect(broker.url()).await.unwrap())
        .add_service(PuppetServer::new(strings.clone()))
        .health_interval(Duration::from_millis(20))
        .health_check("database", move || {
            let is_there = database.load(Ordering::Relaxed);
            async move { is_there.then_some(()).ok_or("no route to 10.0.0.7") }
        })
        .start()
        .await
        .unwrap()
}

async fn ask(nats: &async_nats::Client, subject: String) -> Vec<u8> {
    let reply = nats.request(subject, "".into()).await.unwrap();
    reply.payload.to_vec()
}

async fn describe(nats: &async_nats::Client, verb: &str, id: &str) -> Value {
    let subject = format!("$SRV.{verb}.nmfw-puppet.{id}");
    serde_json::from_slice(&ask(nats, subject).await).unwrap()
}

on_both_brokers! {
    async fn calls_go_elsewhere_while_a_check_fails(broker: TestBroker) {
        let databases = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true))];
        let strings = [Strings::default(), Strings::default()];
        let first = serve(&broker, &strings[0], &databases[0]).await;
        let second = serve(&broker, &strings[1], &databases[1]).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let plain = PuppetClient::new(Channel::new(&nats));
        let multiplexed = PuppetClient::new(Channel::new(&nats).multiplexed());
        let both = [&plain, &multiplexed];
        for client in both {
            client.echo(Blob::default()).await.unwrap();
        }

        databases[0].store(false, Ordering::Relaxed);
        eventually(LIMIT, || async { first.health().status == Serving::NotServing }).await;
        let before = strings[0].started();
        for client in both {
            for _ in 0..50 {
                client.echo(Blob::default()).await.unwrap();
            }
        }
        assert_eq!(strings[0].started(), before, "an instance that is not ready received calls");

        // Neither database is available: the answer comes at once, without details meant for
        // operators.
        databases[1].store(false, Ordering::Relaxed);
        eventually(LIMIT, || async { second.health().status == Serving::NotServing }).await;
        for client in both {
            let status = client.echo(Blob::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.is_not_started(), "{status}");
            assert!(!status.message().contains("10.0.0.7"), "{status}");
        }
        databases[0].store(true, Ordering::Relaxed);
        eventually(LIMIT, || async { first.health().status == Serving::Serving }).await;
        for client in both {
            // The subscriptions are being made.
            eventually(LIMIT, || async { client.echo(Blob::default()).await.is_ok() }).await;
        }
    }

    async fn calls_under_way_go_on(broker: TestBroker) {
        let (database, strings) = (Arc::new(AtomicBool::new(true)), Strings::default());
        let running = serve(&broker, &strings, &database).await;
        let client = PuppetClient::new(Channel::new(nmfw::connect(broker.url()).await.unwrap()));
        let call = tokio::spawn(client.sleep(SleepRequest { millis: 300 }).send());
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        database.store(false, Ordering::Relaxed);
        eventually(LIMIT, || async { running.health().status == Serving::NotServing }).await;
        call.await.unwrap().unwrap();
    }

    async fn everybody_is_told(broker: TestBroker) {
        let (database, strings) = (Arc::new(AtomicBool::new(false)), Strings::default());
        let running = serve(&broker, &strings, &database).await;
        let id = running.services()[0].id.clone();
        let base = running.services()[0].subjects[0].rsplit_once('.').unwrap().0.to_owned();
        // The checks run before the subscriptions are made: the server never seems ready.
        assert_eq!(running.health().status, Serving::NotServing);
        let nats = async_nats::connect(broker.url()).await.unwrap();
        let of_instance = format!("{base}._i.{id}.health");
        for subject in [format!("{base}._health"), of_instance.clone()] {
            assert_eq!(ask(&nats, subject.clone()).await, [8, 2], "{subject}");
        }
        let info = describe(&nats, "INFO", &id).await;
        assert_eq!(info["metadata"]["nmfw.health"], "NOT_SERVING");
        let stats = describe(&nats, "STATS", &id).await;
        let health = &stats["endpoints"][0]["data"]["health"];
        assert_eq!(health["status"], "NOT_SERVING");
        assert_eq!(health["checks"][0]["name"], "database");
        assert_eq!(health["checks"][0]["error"], "no route to 10.0.0.7");

        database.store(true, Ordering::Relaxed);
        eventually(LIMIT, || async { running.health().status == Serving::Serving }).await;
        assert_eq!(ask(&nats, of_instance).await, [8, 1]);
        let info = describe(&nats, "INFO", &id).await;
        assert_eq!(info["metadata"]["nmfw.health"], "SERVING");
        let stats = describe(&nats, "STATS", &id).await;
        assert!(stats["endpoints"][0]["data"]["health"]["checks"][0].get("error").is_none());
    }
}
