//! The log lines that peers can cause in services and clients: few, however much the peers send,
//! and without sequences that act on a terminal.

use nmfw::async_nats::ConnectionExt as _;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use nmfw::{Channel, Code, ConnectOptions, Server, client::RetryLayer};
use nmfw_tests::{
    NatsServer, eventually,
    foreign_peer::{headers, subject},
    in_own_process,
    packets::OPEN,
    puppet::{Blob, FailRequest, PUPPET_SPEC, PuppetClient, PuppetServer, Strings},
    round_trip,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Limit for the log of each attack, in bytes: a megabyte a minute is the limit for all.
const MOST: usize = 100_000;

/// Moves the cursor, rings the bell, ends the line, and reverses the text that follows.
const NASTY: &str = "gone\u{1b}[2J\u{7}\r\n\tERROR forged line \u{202e}\u{9b}31m";

/// The log of the process.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn start() -> Self {
        let logged = Self::default();
        let writer = logged.clone();
        tracing_subscriber::fmt()
            .with_env_filter("debug,async_nats=warn,hyper=warn")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        logged
    }

    /// Returns the log since the last check, after checking that it is short and harmless.
    fn check(&self, what: &str) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{what}: {text:?}");
        for line in text.lines() {
            let acts = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!line.contains(acts), "{what}: {line:?}");
            assert!(line.len() < 8_000, "{what}: a line of {} bytes", line.len());
            assert!(
                !line.trim_start().starts_with("ERROR forged"),
                "{what}: {line:?}"
            );
        }
        assert!(
            text.len() < MOST,
            "{what}: {} bytes: {}",
            text.len(),
            &text[..2_000]
        );
        text
    }
}

/// The service's user may publish only to inboxes, as with generated permissions.
const CONFIG: &str = r#"
    authorization { users: [
        { user: service, password: x, permissions: { publish: ["_INBOX.>"], subscribe: ">" } }
        { user: other, password: x }
    ] }
"#;

in_own_process! {
    /// A single test, because the log belongs to the process.
    async fn floods_make_few_lines_and_none_that_acts() {
        let logged = Logged::start();
        let server = NatsServer::builder().config(CONFIG).start().await.unwrap();
        let broker = |user: &str| format!("nats://{user}:x@127.0.0.1:{}", server.port());
        let nats = ConnectOptions::new().subscription_capacity(1024);
        let nats = nats.connect(broker("service")).await.unwrap();
        let strings = Strings::default();
        let running = Server::new(nats.clone())
            .add_service(PuppetServer::new(strings.clone()))
            .start()
            .await
            .unwrap();
        let other = nmfw::connect(broker("other")).await.unwrap();
        let client = PuppetClient::new(&other);
        client.wait_ready(LIMIT).await.unwrap();
        let plain = other.client();
        assert!(logged.check("the start").contains("serving"));

        let settle = async |what: &str| {
            round_trip(plain, LIMIT).await.unwrap();
            // A call may be lost, because the flood fills the subscription of the method.
            let echo = || client.echo(Blob::default()).timeout(Duration::from_secs(2));
            eventually(LIMIT, || echo().send()).await;
            // Events of the connection arrive a moment later.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let text = logged.check(what);
            println!("{what}: {} bytes logged", text.len());
            text
        };
        let open = format!("{}._open", PUPPET_SPEC.base_subject());

        let inbox = plain.new_inbox();
        let mut answers = plain.subscribe(inbox.clone()).await.unwrap();
        let drain = tokio::spawn(async move { while answers.next().await.is_some() {} });
        for n in 0..20_000 {
            let sent = plain.publish_with_reply(open.clone(), inbox.clone(), OPEN.into());
            sent.await.unwrap();
            if n % 100 == 0 {
                round_trip(plain, LIMIT).await.unwrap();
            }
        }
        let text = settle("sessions that are refused").await;
    assert!(text.contains("refused a session"), "{text}");

        for n in 0..10_000 {
            for reply in [
                format!("forged.{n}"),
                format!("nmfw.forged.{n}"),
                format!("$SRV.\u{202e}{n}"),
            ] {
                plain
                    .publish_with_reply(subject("Echo"), reply, "".into())
                    .await
                    .unwrap();
            }
            if n % 100 == 0 {
                round_trip(plain, LIMIT).await.unwrap();
            }
        }
        let text = settle("reply subjects that are forged").await;
    assert!(text.contains("reply subject is not allowed"), "{text}");
    assert!(text.contains("denies publishing to a subject"), "{text}");

        for n in 0..20_000 {
            let id = &running.services()[0].id;
            let packet = format!("{}._i.{id}.s.\u{202e}{n}", PUPPET_SPEC.base_subject());
            plain.publish(packet, "x".into()).await.unwrap();
            plain
                .publish(subject("Echo"), "no reply subject".into())
                .await
                .unwrap();
            let bad = headers(&[("Nmfw", &format!("1;{}\u{202e}", "x".repeat(1000)))]);
            let sent =
                plain.publish_with_reply_and_headers(subject("Echo"), inbox.clone(), bad, "".into());
            sent.await.unwrap();
            if n % 100 == 0 {
                round_trip(plain, LIMIT).await.unwrap();
            }
        }
        settle("messages that cannot be read").await;

        for _ in 0..2_000 {
            let request = FailRequest {
                code: 13,
                message: NASTY.into(),
                ..FailRequest::default()
            };
            let status = client.fail(request).timeout(LIMIT).await.unwrap_err();
        assert_eq!(status.message(), NASTY, "the message is returned unchanged");
            assert!(!status.to_string().contains(char::is_control), "{status}");
        }
        settle("statuses of handlers").await;
        running.stop();
        running.join().await.unwrap();
        logged.check("the end");
        drop(drain);

        // A foreign service, whose errors a layer logs when it repeats calls.
        let hostile = plain.clone();
        let mut requests = hostile.subscribe(subject("Echo")).await.unwrap();
        round_trip(&hostile, LIMIT).await.unwrap();
        let answering = async {
            while let Some(request) = requests.next().await {
                let text = NASTY.replace(['\r', '\n'], "\u{b}");
                let answer = headers(&[
                    ("Nats-Service-Error", &text),
                    ("Nats-Service-Error-Code", "503"),
                    ("a/b", &text),
                ]);
                let reply = request.reply.unwrap();
                hostile
                    .publish_with_headers(reply, answer, "".into())
                    .await
                    .unwrap();
            }
        };
        let calls = async {
            let retry = RetryLayer::new().backoff(Duration::ZERO, Duration::ZERO);
            let client = PuppetClient::new(Channel::new(&other).layer(retry));
            for _ in 0..500 {
                let status = client
                    .echo(Blob::default())
                    .timeout(LIMIT)
                    .await
                    .unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(!status.to_string().contains(char::is_control), "{status}");
            }
        };
        tokio::select! {
            () = answering => {}
            () = calls => {}
        }
        let text = logged.check("errors of a foreign service");
        assert!(
            text.contains("repeating") && text.contains("\\u{1b}[2J"),
            "{text}"
        );
    }
}
