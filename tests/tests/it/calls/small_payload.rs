//! A NATS server that accepts only very small messages: every call still gets an answer.

use std::time::Duration;

use async_nats::HeaderMap;
use nmfw::{Channel, Code, Metadata, Server};
use nmfw_tests::{
    TestBroker,
    broker::Options,
    foreign_peer::{headers, status_of},
    mirror::{self, Client, FAIL, SPEC},
    on_both_brokers,
    puppet::{FailRequest, PuppetClient, PuppetServer, Strings},
};
use serde_json::Value;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// Long enough for a request, too short for most errors.
const MAX_PAYLOAD: usize = 256;

async fn small(broker: &TestBroker) -> TestBroker {
    let options = Options {
        max_payload: Some(MAX_PAYLOAD),
        ..Options::default()
    };
    broker.another(options).await.unwrap()
}

on_both_brokers! {
    async fn every_call_is_answered(broker: TestBroker) {
        let broker = small(&broker).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(&nats)
            .add_service(mirror::service(&SPEC).max_request_size(60))
            .add_service(PuppetServer::new(Strings::default()));
        let _running = server.start().await.unwrap();
        let client = Client::new(Channel::new(&nats), &SPEC);
        let puppet = PuppetClient::new(&nats);
        assert_eq!(client.echo("x").await.unwrap(), "x");

        // Errors whose text alone exceeds the limit, of any length.
        for length in (0..400).step_by(7) {
            let request = FailRequest {
                code: 5,
                message: String::new(),
                detail: String::new(),
                not_started: false,
            };
            let message = "m".repeat(length);
            let call = puppet.fail(FailRequest { message, ..request });
            let status = timeout(LIMIT, call).await.unwrap().unwrap_err();
            // Up to about 130 bytes, the request itself fits.
            let expected = [Code::NotFound, Code::ResourceExhausted];
            assert!(expected.contains(&status.code()), "{length}: {status}");
            assert!(length > 100 || status.code() == Code::NotFound, "{length}: {status}");
        }

        // Metadata that fits into the request, but not into an error together with its text.
        let mut metadata = Metadata::new();
        metadata.append("a", "x".repeat(100)).unwrap();
        let call = client.echo(FAIL).merge_metadata(&metadata);
        let status = timeout(LIMIT, call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{status}");

        // An answer that exceeds the limit because of its metadata.
        let call = client.echo(&"m".repeat(50)).merge_metadata(&metadata);
        let outcome = timeout(LIMIT, call).await.unwrap();
        if let Err(status) = outcome {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        }
        let call = client.echo("many 40");
        let status = timeout(LIMIT, call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("the response of "), "{status}");

        // Refusals: a request over the limit, a request that base mode does not allow, and a
        // request that is too large.
        let status = timeout(LIMIT, client.echo(&"m".repeat(70))).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        let status = timeout(LIMIT, client.count("x", &Metadata::new())).await.unwrap().unwrap_err();
        assert!(status.message().contains("max_payload of 256"), "{status}");
        let status = timeout(LIMIT, client.echo(&"m".repeat(300))).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.is_not_started() && status.message().contains("256"), "{status}");
    }

    async fn foreign_clients_are_answered(broker: TestBroker) {
        let broker = small(&broker).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(&nats).add_service(mirror::service(&SPEC));
        let _running = server.start().await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let long = "x".repeat(150);
        for (method, pairs, code) in [
            ("Count", vec![], "12;not-started"),
            ("Echo", vec![("Nmfw", long.as_str())], "3"),
            ("Echo", vec![("Nmfw-Deadline", long.as_str())], "3"),
            ("Echo", vec![("Nmfw-Deadline", "2001-01-01T00:00:00Z")], "4"),
            ("Echo", vec![("Content-Type", "application/json")], "12"),
            ("Echo", vec![("a/b", long.as_str())], "3"),
        ] {
            let subject = format!("nmfw.mirror.{method}");
            let reply = plain.request_with_headers(subject, headers(&pairs), "".into());
            let reply = timeout(LIMIT, reply).await.unwrap().unwrap();
            let (status, text) = status_of(&reply);
            assert_eq!(status, code, "{method} {pairs:?}: {text}");
            assert!(!text.is_empty());
        }
        // An OPEN is answered too: sessions need larger messages.
        let open = b"\x10\x00\x00\x00\x01\x17\x01\x01\x40\x02\x03\x80\x80\x10\x03\x03\x80\xf8\x3f\x04\x04\x80\x80\x80\x20\x05\x02\x90\x4e";
        for (subject, mark) in [("nmfw.mirror._open", false), ("nmfw.mirror.Count", true)] {
            let mut headers = HeaderMap::new();
            if mark {
                headers.insert("Nmfw-Session", "1");
            }
            let reply = plain.request_with_headers(subject, headers, open.to_vec().into());
            let reply = timeout(LIMIT, reply).await.unwrap().unwrap();
            // CLOSE.
            assert_eq!(reply.payload[4] & 0x1f, 12, "{subject}: {:?}", reply.payload);
        }
        let health = plain.request("nmfw.mirror._health", "".into());
        assert_eq!(timeout(LIMIT, health).await.unwrap().unwrap().payload, b"\x08\x01"[..]);
    }

    async fn discovery_answers(broker: TestBroker) {
        let broker = small(&broker).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let version = format!("1.2.3-rc.1+{}", "b".repeat(100));
        let service = mirror::service(&SPEC)
            .version(&version)
            .description("x".repeat(300))
            .metadata("region", "r".repeat(300));
        let _running = Server::new(&nats).add_service(service).start().await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        for verb in ["PING", "INFO", "STATS"] {
            let reply = plain.request(format!("$SRV.{verb}.mirror"), "".into());
            let reply = timeout(LIMIT, reply).await.unwrap().unwrap().payload;
            assert!(reply.len() <= MAX_PAYLOAD);
            let answer: Value = serde_json::from_slice(&reply).unwrap();
            assert_eq!((&answer["name"], &answer["version"]), (&"mirror".into(), &"1.2.3-rc.1".into()));
            assert!(answer["metadata"].is_object(), "{answer}");
            if verb != "PING" {
                assert!(answer["endpoints"].is_array(), "{answer}");
            }
        }
        Channel::new(&nats).wait_ready(&SPEC, LIMIT).await.unwrap();
    }
}
