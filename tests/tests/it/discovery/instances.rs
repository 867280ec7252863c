//! Which instances answer discovery, and until when.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use nmfw::Code;
use nmfw::server::{Running, Service};
use nmfw_tests::calc::{CalcServer, Calculator};
use nmfw_tests::puppet::{self, Blob, PuppetServer, SleepRequest, Strings};
use nmfw_tests::srv::{ask, ask_one, collect};
use nmfw_tests::{TestBroker, eventually, on_both_brokers, round_trip};
use serde_json::Value;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

async fn plain(broker: &TestBroker) -> Client {
    async_nats::connect(broker.url()).await.unwrap()
}

async fn serve(broker: &TestBroker, services: impl IntoIterator<Item = Service>) -> Running {
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let server = services
        .into_iter()
        .fold(nmfw::Server::new(nats), nmfw::Server::add_service);
    server.start().await.unwrap()
}

fn puppet() -> Service {
    PuppetServer::new(Strings::default())
}

fn calc() -> Service {
    CalcServer::new(Calculator)
}

fn ids(answers: &[Value]) -> BTreeSet<&str> {
    answers
        .iter()
        .map(|answer| answer["id"].as_str().unwrap())
        .collect()
}

on_both_brokers! {
    async fn services_of_one_server_answer_for_themselves(broker: TestBroker) {
        let server = serve(&broker, [calc(), puppet(), puppet().name("other").subject("other")]).await;
        let client = plain(&broker).await;
        let all: BTreeSet<_> = server.services().iter().map(|s| s.id.as_str()).collect();
        assert_eq!(all.len(), 3, "{:?}", server.services());
        for verb in VERBS {
            let answers = ask(&client, &format!("$SRV.{verb}"), 3).await.unwrap();
            assert_eq!(ids(&answers), all, "{verb}");
            for served in server.services() {
                let subject = format!("$SRV.{verb}.{}", served.name);
                let answer = ask_one(&client, &subject).await.unwrap();
                assert_eq!(answer["id"], *served.id, "{subject}");
                let subject = format!("{subject}.{}", served.id);
                assert_eq!(ask_one(&client, &subject).await.unwrap(), answer, "{subject}");
            }
        }
    }

    async fn instances_of_one_name_all_answer(broker: TestBroker) {
        let (one, two) = (serve(&broker, [puppet()]).await, serve(&broker, [puppet()]).await);
        let client = plain(&broker).await;
        for verb in VERBS {
            for subject in [format!("$SRV.{verb}"), format!("$SRV.{verb}.nmfw-puppet")] {
                let answers = ask(&client, &subject, 2).await.unwrap();
                assert_eq!(ids(&answers).len(), 2, "{subject}");
            }
            for server in [&one, &two] {
                let id = &server.services()[0].id;
                let answer = ask_one(&client, &format!("$SRV.{verb}.nmfw-puppet.{id}")).await.unwrap();
                assert_eq!(answer["id"], **id);
            }
        }
    }

    async fn other_questions_are_for_others(broker: TestBroker) {
        let server = serve(&broker, [puppet()]).await;
        let id = &server.services()[0].id;
        let client = plain(&broker).await;
        for subject in [
            "$SRV.SCHEMA".to_owned(),
            "$SRV.SCHEMA.nmfw-puppet".to_owned(),
            format!("$SRV.SCHEMA.nmfw-puppet.{id}"),
            "$SRV.ping".to_owned(),
            "$SRV".to_owned(),
            "$SRV.PING.puppet".to_owned(),
            "$SRV.PING.nmfw-puppet.another".to_owned(),
            format!("$SRV.PING.another.{id}"),
            format!("$SRV.PING.nmfw-puppet.{id}.more"),
            "nmfw.nmfw.puppet.Unknown".to_owned(),
            "nmfw.nmfw.puppet".to_owned(),
            "nmfw.nmfw.puppet.echo".to_owned(),
        ] {
            collect(&client, &subject, 0).await.unwrap();
        }
        ask_one(&client, "$SRV.PING").await.unwrap();
    }

    /// Such a request ends discovery of services made with `async_nats::service`.
    async fn a_question_without_a_reply_subject_harms_nothing(broker: TestBroker) {
        let server = serve(&broker, [puppet()]).await;
        let id = &server.services()[0].id;
        let client = plain(&broker).await;
        for verb in VERBS {
            for subject in [
                format!("$SRV.{verb}"),
                format!("$SRV.{verb}.nmfw-puppet"),
                format!("$SRV.{verb}.nmfw-puppet.{id}"),
            ] {
                client.publish(subject.clone(), "".into()).await.unwrap();
                client.publish(subject.clone(), vec![0xff; 100_000].into()).await.unwrap();
                ask_one(&client, &subject).await.unwrap();
            }
        }
    }

    async fn methods_not_served_are_not_there(broker: TestBroker) {
        let some = serve(&broker, [puppet().only(["Echo"]).only(["Inspect"])]).await;
        let client = plain(&broker).await;
        let served = ["nmfw.nmfw.puppet.Echo", "nmfw.nmfw.puppet.Inspect"];
        assert_eq!(some.services()[0].subjects, served);
        for verb in ["INFO", "STATS"] {
            let answer = ask_one(&client, &format!("$SRV.{verb}")).await.unwrap();
            let endpoints = answer["endpoints"].as_array().unwrap();
            let subjects: Vec<_> = endpoints.iter().map(|e| e["subject"].as_str().unwrap()).collect();
            assert_eq!(subjects, served, "{verb}");
        }
        let caller = puppet::client(&broker.url()).await.unwrap();
        caller.echo(Blob::default()).await.unwrap();
        // Fails at once, although the timeout of the method is half a minute.
        let call = caller.sleep(SleepRequest::default()).send();
        let status = timeout(LIMIT, call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.is_not_started() && status.message().contains("puppet.Sleep"), "{status}");

        // Another instance serves the other methods, so that the two form the whole service.
        let rest = serve(&broker, [puppet().only(["Sleep"])]).await;
        caller.sleep(SleepRequest::default()).await.unwrap();
        caller.echo(Blob::default()).await.unwrap();
        assert_eq!(ask(&client, "$SRV.PING.nmfw-puppet", 2).await.unwrap().len(), 2);
        drop(rest);
    }

    async fn a_stopped_instance_is_silent(broker: TestBroker) {
        let (stays, goes) = (serve(&broker, [calc()]).await, serve(&broker, [puppet(), calc()]).await);
        let client = plain(&broker).await;
        ask(&client, "$SRV.PING", 3).await.unwrap();
        let gone: Vec<_> = goes.services().to_vec();
        goes.stop();
        goes.join().await.unwrap();
        for verb in VERBS {
            for served in &gone {
                let subject = format!("$SRV.{verb}.{}.{}", served.name, served.id);
                collect(&client, &subject, 0).await.unwrap();
            }
            collect(&client, &format!("$SRV.{verb}.nmfw-puppet"), 0).await.unwrap();
            let left = ask_one(&client, &format!("$SRV.{verb}")).await.unwrap();
            assert_eq!(left["id"], *stays.services()[0].id);
        }
        collect(&client, "nmfw.nmfw.puppet.Echo", 0).await.unwrap();
    }

    async fn an_instance_that_drains_is_silent_already(broker: TestBroker) {
        let strings = Strings::default();
        let server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = plain(&broker).await;
        let caller = puppet::client(&broker.url()).await.unwrap();
        // Runs longer than the test; the second stop ends it.
        let call = tokio::spawn(caller.sleep(SleepRequest { millis: 29_000 }).send());
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        server.stop();
        let subject = format!("$SRV.PING.nmfw-puppet.{}", server.services()[0].id);
        // A request that arrives at this very moment gets no answer.
        eventually(LIMIT, || async {
            let look = collect(&client, &subject, 0);
            timeout(Duration::from_millis(500), look).await.is_ok_and(|silent| silent.is_ok())
        })
        .await;
        eventually(LIMIT, || collect(&client, "nmfw.nmfw.puppet.Sleep", 0)).await;
        assert_eq!((strings.finished(), strings.dropped()), (0, 0));
        server.stop();
        server.join().await.unwrap();
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(!status.is_not_started(), "{status}");
    }

    /// A service that is found in discovery can be called.
    async fn discovery_answers_when_methods_do(broker: TestBroker) {
        let client = plain(&broker).await;
        for _ in 0..5 {
            let starting = tokio::spawn({
                let nats = nmfw::connect(broker.url()).await.unwrap();
                async move { nmfw::Server::new(nats).add_service(calc()).start().await.unwrap() }
            });
            eventually(LIMIT, || ask_one(&client, "$SRV.PING.calc")).await;
            client.request("nmfw.calc.Add", "".into()).await.unwrap();
            let server = starting.await.unwrap();
            server.stop();
            server.join().await.unwrap();
            round_trip(&client, LIMIT).await.unwrap();
        }
    }
}
