//! Malformed requests: each is answered with a status that describes the error, and the service
//! keeps working. Input that breaks connections is in `hostile/peers.rs`.

use std::time::{Duration, Instant};

use nmfw::prost::Message as _;
use nmfw::server::Running;
use nmfw::{Channel, Code, Metadata, NatsChannel as _, Server};
use nmfw_tests::broker::Options;
use nmfw_tests::foreign_peer::{bytes, headers, request, status_of, subject};
use nmfw_tests::puppet::{self, Blob, PuppetClient, PuppetServer, Seen, SleepRequest, Strings};
use nmfw_tests::{TestBroker, eventually, on_both_brokers, round_trip};

const LIMIT: Duration = Duration::from_secs(20);

const INVALID_ARGUMENT: &str = "3";
const DEADLINE_EXCEEDED: &str = "4";
const RESOURCE_EXHAUSTED: &str = "8";

/// The puppet, a plain NATS client and an nmfw client.
struct Bench {
    strings: Strings,
    running: Running,
    plain: async_nats::Client,
    client: PuppetClient,
}

impl Bench {
    async fn new(broker: &TestBroker) -> Self {
        let strings = Strings::default();
        Self {
            running: puppet::serve(&broker.url(), &strings).await.unwrap(),
            plain: async_nats::connect(broker.url()).await.unwrap(),
            client: puppet::client(&broker.url()).await.unwrap(),
            strings,
        }
    }

    /// Sends headers, which must be refused before a handler runs.
    async fn refused(&self, pairs: &[(&str, &str)], code: &str, word: &str) {
        let before = self.strings.started();
        let reply = request(&self.plain, "Inspect", headers(pairs), [])
            .await
            .unwrap();
        let (status, text) = status_of(&reply);
        assert_eq!(status, code, "{pairs:?}: {text}");
        assert!(
            text.contains(word),
            "{pairs:?}: {word:?} is not in {text:?}"
        );
        assert_eq!(
            self.strings.started(),
            before,
            "{pairs:?} reached the handler"
        );
    }

    /// Sends headers that reach a handler, and returns what the handler saw.
    async fn seen(&self, pairs: &[(&str, &str)]) -> Seen {
        let reply = request(&self.plain, "Inspect", headers(pairs), [])
            .await
            .unwrap();
        assert_eq!(status_of(&reply), ("", ""), "{pairs:?}");
        Seen::decode(reply.payload).unwrap()
    }

    async fn still_serves(&self) {
        self.client.echo(Blob::default()).await.unwrap();
    }

    /// Returns the number of errors of a method in STATS, and the last one.
    async fn errors(&self, method: &str) -> (u64, String) {
        let service = &self.running.services()[0];
        let subject = format!("$SRV.STATS.{}.{}", service.name, service.id);
        let reply = self.plain.request(subject, "".into()).await.unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
        let endpoints = stats["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|e| e["name"] == method).unwrap();
        let last = endpoint["last_error"].as_str().unwrap();
        (endpoint["num_errors"].as_u64().unwrap(), last.to_owned())
    }
}

fn blob(size: usize) -> Blob {
    Blob {
        data: vec![b'x'; size],
    }
}

on_both_brokers! {
    async fn bodies_that_are_no_message(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        // A length beyond the end, a wrong wire type, a varint without end, text.
        let bodies: [&[u8]; 4] = [b"\x0a\x7f", b"\x08\x01", &[0xff; 32], b"{\"data\":\"\"}"];
        for body in bodies {
            let reply = request(&bench.plain, "Echo", headers(&[]), body).await.unwrap();
            let (status, text) = status_of(&reply);
            assert_eq!(status, INVALID_ARGUMENT, "{body:?}: {text}");
            assert!(text.contains("nmfw.puppet.Puppet.Echo"), "{text}");
        }
        assert_eq!(bench.strings.started(), 0);
        let (errors, last) = bench.errors("Echo").await;
        assert_eq!(errors, 4);
        assert!(last.starts_with("INVALID_ARGUMENT"), "{last}");

        // An empty body is a message of defaults. Unknown fields are skipped, as protobuf requires.
        for (body, expected) in [(vec![], blob(0)), (b"\x12\x01y\x0a\x01x".to_vec(), blob(1))] {
            let reply = request(&bench.plain, "Echo", headers(&[]), body).await.unwrap();
            assert_eq!(status_of(&reply), ("", ""));
            assert_eq!(Blob::decode(reply.payload).unwrap(), expected);
        }
    }

    async fn a_request_over_the_services_limit(broker: TestBroker) {
        let strings = Strings::default();
        let service = PuppetServer::new(strings.clone())
            .max_request_size(1_000)
            .method("Sleep", |limits| limits.max_request_size(10));
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats).add_service(service).start().await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();

        client.echo(blob(990)).await.unwrap();
        client.sleep(SleepRequest { millis: 1 }).await.unwrap();
        let status = client.echo(blob(1_000)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(!status.is_not_started(), "no other instance would accept it either");
        for number in ["1003", "1000"] {
            assert!(status.message().contains(number), "{status}");
        }
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let reply = request(&plain, "Sleep", headers(&[]), [0; 11]).await.unwrap();
        assert_eq!(status_of(&reply).0, RESOURCE_EXHAUSTED);
        assert_eq!(strings.started(), 2);
    }

    async fn messages_over_max_payload(broker: TestBroker) {
        let small = broker
            .another(Options { max_payload: Some(10_000), ..Options::default() })
            .await
            .unwrap();
        let bench = Bench::new(&small).await;
        let began = Instant::now();

        // The request goes over a session. A message too large for that fails at once.
        let answer = bench.client.echo(blob(20_000)).timeout(LIMIT).await.unwrap();
        assert_eq!(answer.data.len(), 20_000);
        let status = bench.client.echo(blob(16 << 20)).timeout(LIMIT).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.is_not_started());
        assert!(status.message().contains("16777216"), "{status}");
        for size in (9_700..10_001).step_by(20) {
            let answer = bench.client.echo(blob(size)).timeout(LIMIT).await.unwrap();
            assert_eq!(answer.data.len(), size);
        }

        // The answer to a plain request has to fit into one message.
        let plain = async_nats::connect(small.url()).await.unwrap();
        let bin = headers(&[("x-bin", &"////".repeat(1_000))]);
        let reply = request(&plain, "Inspect", bin, "").await.unwrap();
        assert_eq!(status_of(&reply).0, "8;answer-too-large");
        // The answer is larger than the request: it repeats the bytes as text, four times as long.
        let mut metadata = Metadata::new();
        metadata.insert_bin("x-bin", vec![0xff; 3_000]).unwrap();
        let call = bench.client.inspect(()).merge_metadata(&metadata).timeout(LIMIT);
        let status = call.await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().starts_with("the response of 12"), "{status}");
        assert!(status.message().contains("10000"), "{status}");
        assert!(status.message().contains("was not repeated"), "{status}");
        assert_eq!(bench.errors("Inspect").await.0, 2);
        // The call has run, and callers may repeat it if that is harmless.
        let call = bench.client.inspect(()).merge_metadata(&metadata).timeout(LIMIT);
        assert!(call.await.unwrap().metadata["x-bin"].len() > 10_000);
        assert!(began.elapsed() < LIMIT, "a call timed out");
        bench.still_serves().await;
    }

    async fn headers_of_the_protocol(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        for bad in ["", "x", "-1", "1;t", "1;t=-5", "1;t=1.5", "1;e=x", "1;v=a b", "1;", "\u{7}"] {
            bench.refused(&[("Nmfw", bad)], INVALID_ARGUMENT, "Nmfw").await;
        }
        bench.refused(&[("Nmfw", "1;t=0")], DEADLINE_EXCEEDED, "without any time left").await;
        // An unsupported version: another instance may support it.
        bench.refused(&[("Nmfw", "2;t=100")], "12;not-started", "version 2").await;
        // The body is empty, and so not JSON.
        bench.refused(&[("Nmfw", "1;e=j")], INVALID_ARGUMENT, "document").await;
        bench.refused(&[("Content-Type", "application/json")], INVALID_ARGUMENT, "document").await;

        let seen = bench.seen(&[("Nmfw", "1;t=9000;v=1.2.3;later=on"), ("Nmfw-Later", "x")]).await;
        assert!((1..=9_000).contains(&seen.time_left_millis()), "{seen:?}");
        assert_eq!(seen.client_version, "1.2.3");
        assert!(seen.metadata.is_empty(), "{seen:?}");
        // The first of several values counts, as with Go's Header.Get. Without a value, the
        // method's timeout applies.
        let seen = bench.seen(&[("Nmfw", "1;t=4000"), ("Nmfw", "1;t=9000"), ("nmfw", "1;t=2")]).await;
        assert!(seen.time_left_millis() <= 4_000, "{seen:?}");
        let seen = bench.seen(&[]).await;
        assert!((1..=5_000).contains(&seen.time_left_millis()), "{seen:?}");
        // Excessive times are clamped.
        for much in [u64::MAX.to_string(), (u64::MAX / 1_000).to_string()] {
            let seen = bench.seen(&[("Nmfw", &format!("1;t={much}"))]).await;
            assert!(seen.time_left_millis() <= 30 * 24 * 3_600 * 1_000, "{seen:?}");
        }
        bench.still_serves().await;
    }

    async fn deadlines_in_headers(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        let deadline = "Nmfw-Deadline";
        let past = "2001-01-01T00:00:00Z";
        bench.refused(&[(deadline, past)], DEADLINE_EXCEEDED, "passed").await;
        bench.refused(&[(deadline, "0000-01-01T00:00:00Z")], DEADLINE_EXCEEDED, "passed").await;
        for bad in ["", "soon", "5s", "2030-13-01T00:00:00Z", "2030-01-01", "1700000000"] {
            bench.refused(&[(deadline, bad)], INVALID_ARGUMENT, "RFC 3339").await;
        }
        let long = "9".repeat(100_000);
        bench.refused(&[(deadline, &long)], INVALID_ARGUMENT, "RFC 3339").await;

        // Deadlines far in the future are clamped, in any time zone; nanoseconds and lower case are
        // accepted.
        for far in [
            "2999-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59-23:59",
            "2999-01-01t00:00:00.123456789z",
        ] {
            let seen = bench.seen(&[(deadline, far)]).await;
            assert_eq!(seen.time_left_millis() / 3_600_000, 30 * 24 - 1, "{far}: {seen:?}");
        }
        // If both times are present, only the relative one counts.
        for other in ["2999-01-01T00:00:00Z", past, "soon"] {
            let seen = bench.seen(&[(deadline, other), ("Nmfw", "1;t=40000")]).await;
            let left = seen.time_left_millis();
            assert!((20_000..=40_000).contains(&left), "{other}: {seen:?}");
        }
    }

    async fn metadata_of_foreign_peers(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        bench.refused(&[("a", "bell\u{7}")], INVALID_ARGUMENT, "control character").await;
        bench.refused(&[("a", "x\u{85}y")], INVALID_ARGUMENT, "control character").await;
        bench.refused(&[("a-bin", "***")], INVALID_ARGUMENT, "base64").await;
        bench.refused(&[("a/b", "x")], INVALID_ARGUMENT, "valid key").await;

        let seen = bench.seen(&[("t", "  größe 漢  "), ("e", ""), ("x-bin", "AAEC"), ("y-Bin", "/w==")]).await;
        assert_eq!(seen.metadata["t"], "größe 漢");
        assert_eq!(seen.metadata["e"], "");
        assert_eq!(seen.metadata["x-bin"], r#"b"\0\x01\x02""#);
        assert_eq!(seen.metadata["y-Bin"], r#"b"\xff""#);
    }

    async fn metadata_that_our_client_does_not_send(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        for (key, value) in [
            ("a", "two\nlines"),
            ("a", "two\r\nlines"),
            ("a", "nul\0"),
            ("a", " space"),
            ("ä", "x"),
            ("", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("a-bin", "text"),
            ("Nmfw-Deadline", "x"),
            ("nats-msg-id", "x"),
        ] {
            let status = bench.client.inspect(()).metadata(key, value).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{key:?}: {value:?}: {status}");
            // All calls of a channel with such a header fail too.
            let nats = nmfw::connect(broker.url()).await.unwrap();
            let client = PuppetClient::new(Channel::new(nats).metadata(key, value));
            assert_eq!(client.inspect(()).await.unwrap_err().code(), Code::InvalidArgument);
        }
        assert_eq!(bench.strings.started(), 0);

        let mut metadata = Metadata::new();
        metadata.append("Tag", "größe 漢").unwrap();
        metadata.append_bin("x-bin", &b"\r\n\0\xff"[..]).unwrap();
        let seen = bench.client.inspect(()).merge_metadata(&metadata).await.unwrap();
        assert_eq!(seen.metadata["Tag"], "größe 漢");
        assert_eq!(seen.metadata["x-bin"], r#"b"\r\n\0\xff""#);
    }

    async fn requests_without_a_reply_subject(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        for _ in 0..3 {
            bench.plain.publish(subject("Echo"), bytes(&blob(1)).into()).await.unwrap();
        }
        // Discovery too, without a reply subject to answer to: with the service support of
        // async-nats this would end discovery permanently.
        for subject in ["$SRV.PING", "$SRV.INFO.nmfw-puppet", "$SRV.STATS"] {
            bench.plain.publish(subject, "".into()).await.unwrap();
        }
        round_trip(&bench.plain, LIMIT).await.unwrap();
        eventually(LIMIT, || async { bench.errors("Echo").await.0 == 3 }).await;
        let (_, last) = bench.errors("Echo").await;
        assert!(last.contains("without a reply subject"), "{last}");
        assert_eq!(bench.strings.started(), 0, "a request without a reply subject was run");
        bench.still_serves().await;
    }

    async fn strange_subjects(broker: TestBroker) {
        let bench = Bench::new(&broker).await;
        // Reply subjects that are not inboxes: the subject of the request itself, and subjects that
        // cannot be subscribed to.
        let own = subject("Echo");
        for reply in [own.as_str(), "a.>", "*", "a..b", ".", "$SYS.REQ"] {
            let body = bytes(&blob(3)).into();
            bench.plain.publish_with_reply(own.clone(), reply.to_owned(), body).await.unwrap();
        }
        eventually(LIMIT, || async { bench.errors("Echo").await.0 == 6 }).await;
        assert_eq!(bench.strings.started(), 0);
        // A short reply subject is valid.
        bench.plain.publish_with_reply(own, "_", bytes(&blob(3)).into()).await.unwrap();
        eventually(LIMIT, || async { bench.strings.finished() == 1 }).await;

        // Calls of a method that is not served fail without waiting for the timeout.
        let began = Instant::now();
        for unknown in ["Unknown", "echo", "Echo.x", "_opened"] {
            let reply = bench.plain.request(subject(unknown), "".into()).await;
            let kind = reply.unwrap_err().kind();
            assert_eq!(kind, async_nats::RequestErrorKind::NoResponders, "{unknown}");
        }
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let nowhere = PuppetClient::new(Channel::new(nats).subject("no.where").timeout(LIMIT));
        let status = nowhere.echo(blob(1)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.is_not_started());
        assert!(status.message().contains("no.where.Echo"), "{status}");
        assert!(began.elapsed() < LIMIT, "a call timed out");

        // On its own subject, the instance accepts only its own messages.
        let id = &bench.running.services()[0].id;
        for below in ["fence.1", "fence.x", "fence.18446744073709551615"] {
            let subject = subject(&format!("_i.{id}.{below}"));
            bench.plain.publish(subject, "garbage".into()).await.unwrap();
        }
        bench.still_serves().await;
        bench.running.stop();
        bench.running.join().await.unwrap();
    }
}
