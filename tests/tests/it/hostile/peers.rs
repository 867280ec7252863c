//! Peers that break connections, and peers that vanish.
//!
//! Some faults cannot be avoided: NATS servers pass headers on unchanged, and async-nats drops its
//! connection on headers that it cannot read. So any peer that may publish to a service can break
//! the service's connection, and any peer that may answer a client can break the client's. Even
//! then, the connection must recover by itself, other callers must get their answers, and the
//! broken message must be lost with the connection, so that it does not come again.

use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use futures_util::StreamExt;
use nmfw::{Code, Connection, ErrorKind, Server};
use nmfw_tests::foreign_peer::{RawPeer, bytes, status_of, subject};
use nmfw_tests::puppet::{self, Blob, PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::{TestBroker, eventually, on_both_brokers, round_trip};

const LIMIT: Duration = Duration::from_secs(20);

/// Headers that async-nats cannot read, so that it drops its connection.
const UNREADABLE: [&[u8]; 7] = [
    b"garbage",
    b"NATS/2.0\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nwhite space: x\r\n\r\n",
    b"NATS/1.0\r\n\xc3\xa4: x\r\n\r\n",
    b"NATS/1.0\r\nkey: \xff\xfe\r\n\r\n",
    b"NATS/1.0 status\r\n\r\n",
];

/// Strange headers that async-nats can read, and the service's answers to them.
const READABLE: [(&[u8], &str); 7] = [
    (b"NATS/1.0", ""),
    (b"NATS/1.0\r\n", ""),
    (b"NATS/1.0 503 No Responders\r\n\r\n", ""),
    (b"NATS/1.0\r\n\r\n\r\nkey:value without an end", ""),
    (b"NATS/1.0\r\nfolded: two\r\n lines\r\n\r\n", ""),
    (b"NATS/1.0\r\n: no name\r\n\r\n", "3"),
    (b"NATS/1.0\r\nkey: nul\0\r\n\r\n", "3"),
];

async fn serve(connection: &Connection, strings: &Strings) -> nmfw::server::Running {
    let service = PuppetServer::new(strings.clone());
    let server = Server::new(connection.clone()).add_service(service);
    server.start().await.unwrap()
}

fn epoch(connection: &Connection) -> u64 {
    connection.state().epoch
}

on_both_brokers! {
    async fn unreadable_headers_break_a_services_connection_and_it_comes_back(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let running = serve(&nats, &strings).await;
        let client = puppet::client(&broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();

        for headers in UNREADABLE {
            let before = epoch(&nats);
            let started = strings.started();
            let other = tokio::spawn(client.sleep(SleepRequest { millis: 300 }).send());
            eventually(LIMIT, || async { strings.started() == started + 1 }).await;

            peer.publish(&subject("Echo"), "nobody", headers, b"").await.unwrap();

            let shown = String::from_utf8_lossy(headers).into_owned();
            eventually(LIMIT, || async { epoch(&nats) > before }).await;
            // The answer to another caller waits until the connection is back.
            let outcome = other.await.unwrap();
            assert!(outcome.is_ok(), "{shown:?}: {outcome:?}");
            eventually(LIMIT, || client.echo(Blob::default()).send()).await;
        }
        assert_eq!(running.services().len(), 1);
        running.stop();
        running.join().await.unwrap();
    }

    async fn readable_headers_are_answered(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = serve(&nats, &strings).await;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        let mut replies = plain.subscribe("replies").await.unwrap();
        round_trip(&plain, LIMIT).await.unwrap();

        for (headers, code) in READABLE {
            peer.publish(&subject("Echo"), "replies", headers, b"").await.unwrap();
            let reply = tokio::time::timeout(LIMIT, replies.next()).await.unwrap().unwrap();
            assert_eq!(status_of(&reply).0, code, "{:?}", String::from_utf8_lossy(headers));
        }
        assert_eq!(epoch(&nats), 1, "the connection broke");
    }

    /// async-nats panics on a carriage return in a header, in the task of the connection, which
    /// cannot be restarted. The server must report that at once, so that its process can end and be
    /// restarted, rather than keep running without a connection.
    async fn a_carriage_return_in_a_header_ends_the_server_with_an_error(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let running = serve(&nats, &strings).await;
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        let headers = b"NATS/1.0\r\nkey: a\rb\r\n\r\n";
        peer.publish(&subject("Echo"), "nobody", headers, b"").await.unwrap();
        let end = tokio::time::timeout(LIMIT, running.join()).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed);
        assert!(nats.state().is_closed());

        // A call on that connection reports it too.
        let status = PuppetClient::new(&nats).echo(Blob::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    async fn an_unreadable_answer_costs_a_deadline_and_the_client_comes_back(broker: TestBroker) {
        let client = puppet::client(&broker.url()).await.unwrap();
        let impostor = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = impostor.subscribe(subject("Echo")).await.unwrap();
        round_trip(&impostor, LIMIT).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        // After the reconnect, the call waits: its answer may still arrive.
        for headers in UNREADABLE.into_iter().step_by(3) {
            let began = Instant::now();
            let call = client.echo(Blob::default()).timeout(Duration::from_secs(3));
            let call = tokio::spawn(call.send());
            let request = tokio::time::timeout(LIMIT, requests.next()).await.unwrap().unwrap();
            peer.publish(&request.reply.unwrap(), "", headers, b"").await.unwrap();
            let status = call.await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            assert!(!status.is_not_started(), "it was");
            assert!(began.elapsed() < LIMIT / 2, "took {:?}", began.elapsed());
        }
        drop(requests);
        drop(impostor);
        let _running = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let echo = client.echo(Blob { data: b"x".to_vec() }).await.unwrap();
        assert_eq!(echo.data, b"x");
    }

    async fn answers_that_nobody_asked_for_are_skipped(broker: TestBroker) {
        let client = puppet::client(&broker.url()).await.unwrap();
        let impostor = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = impostor.subscribe(subject("Echo")).await.unwrap();
        round_trip(&impostor, LIMIT).await.unwrap();
        let body = |text: &str| bytes(&Blob { data: text.into() });

        let call = tokio::spawn(client.echo(Blob::default()).send());
        let request = tokio::time::timeout(LIMIT, requests.next()).await.unwrap().unwrap();
        let reply = request.reply.unwrap().to_string();
        let (prefix, id) = reply.rsplit_once('.').unwrap();
        let number = u64::from_str_radix(id, 16).unwrap();
        let another_turn = format!("{:x}", number + (1 << 32));
        let another_slot = format!("{:x}", number + 1);
        for wrong in [&another_turn, &another_slot, "x", "ffffffffffffffff", "-1", "1.2"] {
            impostor.publish(format!("{prefix}.{wrong}"), body("wrong").into()).await.unwrap();
        }
        impostor.publish(reply.clone(), body("right").into()).await.unwrap();
        impostor.publish(reply.clone(), body("late").into()).await.unwrap();
        assert_eq!(call.await.unwrap().unwrap().data, b"right");

        // The next call may get the same slot, but not the late answer.
        let call = tokio::spawn(client.echo(Blob::default()).send());
        let request = tokio::time::timeout(LIMIT, requests.next()).await.unwrap().unwrap();
        impostor.publish(reply, body("late").into()).await.unwrap();
        impostor.publish(request.reply.unwrap(), body("next").into()).await.unwrap();
        assert_eq!(call.await.unwrap().unwrap().data, b"next");
    }

    /// A server listens for the ends of its round trips only during one, on a subject that cannot
    /// be guessed. So no peer can end a stop early, and no answers pile up there.
    async fn round_trips_of_a_server_cannot_be_forged(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let running = serve(&nats, &strings).await;
        let id = &running.services()[0].id;
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let mut peer = RawPeer::connect(broker.port()).await.unwrap();
        for number in 1..=5 {
            let fence = subject(&format!("_i.{id}.fence.{number}"));
            let error = plain.request(fence.clone(), "".into()).await.unwrap_err();
            assert_eq!(error.kind(), RequestErrorKind::NoResponders, "{fence}");
            peer.publish(&subject("Echo"), &fence, b"NATS/1.0\r\n\r\n", b"").await.unwrap();
        }
        puppet::client(&broker.url()).await.unwrap().echo(Blob::default()).await.unwrap();
        assert_eq!(strings.started(), 1, "the forger received a message");
        running.stop();
        running.join().await.unwrap();
    }

    async fn clients_that_vanish_mid_call(broker: TestBroker) {
        let strings = Strings::default();
        let _running = puppet::serve(&broker.url(), &strings).await.unwrap();
        let sleep = bytes(&SleepRequest { millis: 200 });
        for _ in 0..20 {
            let mut peer = RawPeer::connect(broker.port()).await.unwrap();
            peer.send(b"SUB _INBOX.vanishing.* 1\r\n").await.unwrap();
            peer.publish(&subject("Sleep"), "_INBOX.vanishing.1", b"NATS/1.0\r\n\r\n", &sleep)
                .await
                .unwrap();
            // In the middle of a message, which is never delivered.
            peer.send(format!("PUB {} 100\r\nhalf", subject("Echo")).as_bytes()).await.unwrap();
        }
        // The handlers of the vanished callers complete, and the answers are lost.
        eventually(LIMIT, || async { strings.finished() == 20 }).await;
        assert_eq!((strings.started(), strings.dropped()), (20, 0));
        let client = puppet::client(&broker.url()).await.unwrap();
        client.echo(Blob::default()).await.unwrap();
    }
}
