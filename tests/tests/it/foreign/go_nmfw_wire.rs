//! The messages that Go nmfw sends and expects, from a plain NATS client: its client with this
//! service, and its service with this client. `go_nmfw.rs` tests the programs themselves.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt;
use nmfw::prost::Message as _;
use nmfw::{Channel, Code, NatsChannel as _};
use nmfw_tests::calc::{self, AddRequest, CalcClient, CalcResponse, ExpressionRequest};
use nmfw_tests::puppet::{self, Blob, FailRequest, Seen, Strings};
use nmfw_tests::{TestBroker, on_both_brokers, round_trip};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);

/// The version in a build of Go nmfw: its commit.
const GO_VERSION: &str = "10333f4459fab1d0f306e802b6a126a035fd2fed";

/// `AddRequest{Values: 1, 2, 3}` and its answer `CalcResponse{Operation: "add", Result: 6}`.
const ADD_1_2_3: &[u8] = b"\x0a\x0c\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40";
const ADDED_6: &[u8] = b"\x0a\x03add\x15\x00\x00\xc0\x40";

async fn plain(broker: &TestBroker) -> Client {
    async_nats::connect(broker.url()).await.unwrap()
}

/// Formats a time as Go's `Format(time.RFC3339)`: without a fraction, in the zone of the machine.
fn go_time(at: OffsetDateTime, zone: UtcOffset) -> String {
    let at = at.to_offset(zone).replace_nanosecond(0).unwrap();
    at.format(&Rfc3339).unwrap()
}

fn go_headers(deadline: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nmfw-Deadline", deadline);
    headers.insert("Nmfw-Version", GO_VERSION);
    headers.insert("Nmfw-Client-Version", "0.0.2");
    headers
}

async fn ask(client: &Client, subject: &str, headers: HeaderMap, body: &[u8]) -> Message {
    let body = body.to_vec().into();
    let answer = client.request_with_headers(subject.to_owned(), headers, body);
    timeout(LIMIT, answer).await.unwrap().unwrap()
}

/// Returns what the client of Go nmfw reads: headers by their exact names.
#[track_caller]
fn error_of(answer: &Message) -> (String, String) {
    let headers = answer.headers.as_ref().expect("an error has headers");
    let only = |name: &str| {
        let mut found = headers.iter().filter(|(n, _)| n.to_string() == name);
        let (_, values) = found
            .next()
            .unwrap_or_else(|| panic!("no {name}: {headers:?}"));
        assert_eq!(values.len(), 1, "{name} in {headers:?}");
        values[0].as_str().to_owned()
    };
    (only("Nats-Service-Error"), only("Nats-Service-Error-Code"))
}

on_both_brokers! {
    async fn its_client_adds(broker: TestBroker) {
        let _service = calc::serve(&broker.url()).await.unwrap();
        let client = plain(&broker).await;
        let deadline = OffsetDateTime::now_utc() + Duration::from_secs(5);
        for zone in [
            UtcOffset::UTC,
            UtcOffset::from_hms(-5, 0, 0).unwrap(),
            UtcOffset::from_hms(5, 45, 0).unwrap(),
            UtcOffset::from_hms(14, 0, 0).unwrap(),
        ] {
            let text = go_time(deadline, zone);
            assert!(!text.contains('.') && text.ends_with('Z') == zone.is_utc(), "{text}");
            let answer = ask(&client, "nmfw.calc.Add", go_headers(&text), ADD_1_2_3).await;
            assert_eq!(answer.payload, ADDED_6, "{text}: {:?}", answer.headers);
            assert_eq!(answer.headers, None, "{text}");
        }
        // The service needs none of the headers.
        let answer = client.request("nmfw.calc.Add", ADD_1_2_3.into()).await.unwrap();
        assert_eq!((answer.payload.as_ref(), answer.headers), (ADDED_6, None));
    }

    /// A call with half a second, begun early in a second: its deadline is truncated to a time that
    /// has passed before it is sent.
    async fn its_short_deadline_that_looks_past_is_kept(broker: TestBroker) {
        let _service = calc::serve(&broker.url()).await.unwrap();
        let client = plain(&broker).await;
        let early = 1_000_000..400_000_000;
        while !early.contains(&OffsetDateTime::now_utc().nanosecond()) {
            sleep(Duration::from_millis(20)).await;
        }
        let begun = OffsetDateTime::now_utc();
        let text = go_time(begun + Duration::from_millis(500), UtcOffset::UTC);
        assert!(OffsetDateTime::parse(&text, &Rfc3339).unwrap() < begun, "{text}, {begun}");
        let answer = ask(&client, "nmfw.calc.Add", go_headers(&text), ADD_1_2_3).await;
        assert_eq!(answer.payload, ADDED_6, "{text}: {:?}", answer.headers);
    }

    async fn its_headers_reach_the_handler(broker: TestBroker) {
        let _service = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = plain(&broker).await;
        let text = go_time(OffsetDateTime::now_utc() + Duration::from_secs(60), UtcOffset::UTC);
        let answer = ask(&client, "nmfw.nmfw.puppet.Inspect", go_headers(&text), b"").await;
        let seen = Seen::decode(answer.payload).unwrap();
        assert_eq!(seen.client_version, "0.0.2");
        // Up to a second was truncated and a second is added back; and the machine may be slow.
        let left = seen.time_left_millis.unwrap();
        assert!((40_000..=61_000).contains(&left), "{left}");
        assert!(seen.metadata.is_empty(), "{:?}", seen.metadata);
    }

    async fn its_client_reads_errors(broker: TestBroker) {
        let url = broker.url();
        let strings = Strings::default();
        let _calc = calc::serve(&url).await.unwrap();
        let _puppet = puppet::serve(&url, &strings).await.unwrap();
        let client = plain(&broker).await;
        let deadline = go_time(OffsetDateTime::now_utc() + Duration::from_secs(60), UtcOffset::UTC);
        let ask = |subject: &'static str, body: Vec<u8>| {
            let (client, headers) = (client.clone(), go_headers(&deadline));
            async move { error_of(&ask(&client, subject, headers, &body).await) }
        };

        let expression = ExpressionRequest { expression: "100 % ä".to_owned() }.encode_to_vec();
        let error = ask("nmfw.calc.Expression", expression).await;
        assert_eq!(error, ("cannot calculate 100 % ä".to_owned(), "3".to_owned()));

        let (text, code) = ask("nmfw.calc.Add", b"\x0a\xff".to_vec()).await;
        assert!(text.contains("calc.Calc.Add") || text.contains("decode"), "{text}");
        assert_eq!(code, "3");

        let fail = |message: &str| FailRequest {
            code: Code::NotFound.number(),
            message: message.to_owned(),
            ..FailRequest::default()
        }.encode_to_vec();
        for (message, shown) in [("", "NOT_FOUND"), ("\n\t ", "NOT_FOUND"), ("a\nb\r\nc", "a b  c")] {
            let error = ask("nmfw.nmfw.puppet.Fail", fail(message)).await;
            assert_eq!(error, (shown.to_owned(), "5".to_owned()), "{message:?}");
        }
        let (text, code) = ask("nmfw.nmfw.puppet.Panic", Vec::new()).await;
        assert!(!text.is_empty() && code == "13", "{text} {code}");
    }

    async fn an_empty_body_is_an_empty_message(broker: TestBroker) {
        let _service = calc::serve(&broker.url()).await.unwrap();
        let client = plain(&broker).await;
        let text = go_time(OffsetDateTime::now_utc() + Duration::from_secs(5), UtcOffset::UTC);
        let answer = ask(&client, "nmfw.calc.Add", go_headers(&text), b"").await;
        assert_eq!((answer.payload.as_ref(), answer.headers), (&b"\x0a\x03add"[..], None));
    }

    async fn deadlines_it_would_not_send(broker: TestBroker) {
        let strings = Strings::default();
        let _service = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = plain(&broker).await;
        let stale = go_time(OffsetDateTime::now_utc() - Duration::from_secs(60), UtcOffset::UTC);
        let echo = "nmfw.nmfw.puppet.Echo";
        let (text, code) = error_of(&ask(&client, echo, go_headers(&stale), b"").await);
        assert_eq!(code, Code::DeadlineExceeded.number().to_string(), "{text}");
        for unreadable in ["", "tomorrow", "2026-13-01T00:00:00Z", "1700000000"] {
            let (text, code) = error_of(&ask(&client, echo, go_headers(unreadable), b"").await);
            assert_eq!(code, Code::InvalidArgument.number().to_string(), "{text}");
            assert!(text.contains("Nmfw-Deadline"), "{text}");
        }
        assert_eq!(strings.started(), 0, "a handler ran");
    }
}

/// An answer of a Go service.
#[derive(Clone, Copy)]
struct Answer {
    error: Option<&'static str>,
    code: Option<&'static str>,
    body: &'static [u8],
}

impl Answer {
    const fn ok(body: &'static [u8]) -> Self {
        Self {
            error: None,
            code: None,
            body,
        }
    }

    const fn error(error: &'static str, code: &'static str) -> Self {
        Self {
            error: Some(error),
            code: Some(code),
            body: b"",
        }
    }

    fn headers(self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Nats-Service-Error", self.error),
            ("Nats-Service-Error-Code", self.code),
        ] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        (!headers.is_empty()).then_some(headers)
    }
}

/// Starts a service like those of Go nmfw that gives the answers one after the other; the receiver
/// gets the requests. It ends with its test's runtime, or with the first request without an answer.
async fn go_service(broker: &TestBroker, answers: Vec<Answer>) -> mpsc::UnboundedReceiver<Message> {
    let client = plain(broker).await;
    let mut requests = client
        .queue_subscribe("nmfw.calc.Add", "q".to_owned())
        .await
        .unwrap();
    round_trip(&client, LIMIT).await.unwrap();
    let (seen, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let request = requests.next().await.unwrap();
            let reply = request.reply.clone().unwrap();
            let body = answer.body.into();
            match answer.headers() {
                None => client.publish(reply, body).await.unwrap(),
                Some(headers) => client
                    .publish_with_headers(reply, headers, body)
                    .await
                    .unwrap(),
            }
            // Dropping the last handle of the client discards unsent answers.
            client.flush().await.unwrap();
            if seen.send(request).is_err() {
                return;
            }
        }
    });
    received
}

fn numbers() -> AddRequest {
    AddRequest {
        values: vec![1.0, 2.0, 3.0],
    }
}

on_both_brokers! {
    async fn its_service_answers_and_refuses(broker: TestBroker) {
        let cases = [
            (Answer::error("invalid request", "REQ_INVALID"), Code::InvalidArgument, "invalid request"),
            (Answer::error("not implemented", "NO_IMPL"), Code::Unimplemented, "not implemented"),
            (Answer::error("100 % of ä", "ERROR"), Code::Unknown, "100 % of ä"),
            (Answer::error("", "ERROR"), Code::Unknown, ""),
            (Answer::error("", ""), Code::Unknown, ""),
            (Answer { error: None, ..Answer::error("", "ERROR") }, Code::Unknown, ""),
            (Answer { error: None, ..Answer::error("", "REQ_INVALID") }, Code::InvalidArgument, ""),
            (Answer { code: None, ..Answer::error("just text", "") }, Code::Unknown, "just text"),
            (Answer::error("bad", "400"), Code::InvalidArgument, "bad (code 400)"),
            (Answer::error("who?", "401"), Code::Unauthenticated, "who? (code 401)"),
            (Answer::error("no", "403"), Code::PermissionDenied, "no (code 403)"),
            (Answer::error("gone", "404"), Code::NotFound, "gone (code 404)"),
            (Answer::error("slow down", "429"), Code::ResourceExhausted, "slow down (code 429)"),
            (Answer::error("broken", "503"), Code::Unavailable, "broken (code 503)"),
            (Answer::error("late", "504"), Code::DeadlineExceeded, "late (code 504)"),
            (Answer::error("of its own", "MINE"), Code::Unknown, "of its own (code MINE)"),
            // An error, whatever the body.
            (Answer { body: ADDED_6, ..Answer::error("no", "ERROR") }, Code::Unknown, "no"),
        ];
        let mut answers: Vec<_> = cases.iter().map(|(answer, ..)| *answer).collect();
        answers.push(Answer::ok(ADDED_6));
        answers.push(Answer::ok(b""));
        answers.push(Answer::ok(b"\x0a\xff"));
        let mut requests = go_service(&broker, answers).await;
        let client = calc::client(&broker.url()).await.unwrap();

        for (answer, code, message) in cases {
            let status = client.add(numbers()).await.unwrap_err();
            let told = (answer.error, answer.code);
            assert_eq!((status.code(), status.message()), (code, message), "{told:?}");
            assert!(!status.is_not_started(), "{told:?}: a Go service may have started it");
            assert_eq!(requests.recv().await.unwrap().payload, ADD_1_2_3);
        }
        let added = client.add(numbers()).await.unwrap();
        assert_eq!(added, CalcResponse { operation: "add".to_owned(), result: 6.0 });
        assert_eq!(client.add(numbers()).await.unwrap(), CalcResponse::default());
        let status = client.add(numbers()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("calc"), "{status}");
    }

    /// Handlers of Go nmfw run until the absolute deadline, by their own clock.
    async fn its_service_whose_clock_is_ahead_gives_up_at_once(broker: TestBroker) {
        let error = Answer::error("adding: context deadline exceeded", "ERROR");
        let mut requests = go_service(&broker, vec![error]).await;
        let client = calc::client(&broker.url()).await.unwrap();
        let call = client.add(numbers()).timeout(Duration::from_secs(60));
        let status = call.await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        let text = status.message();
        assert!(text.starts_with("adding: context deadline exceeded, "), "{text}");
        assert!(text.contains("s before the call's deadline"), "{text}");
        assert!(text.contains("its clock is ahead of the caller's"), "{text}");
        assert!(requests.recv().await.is_some());
    }

    async fn its_service_reads_our_deadline_and_version(broker: TestBroker) {
        let mut requests = go_service(&broker, vec![Answer::ok(ADDED_6); 2]).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let limit = Duration::from_secs(20);

        let begun = OffsetDateTime::now_utc();
        CalcClient::new(&nats).add(numbers()).timeout(limit).await.unwrap();
        let headers = requests.recv().await.unwrap().headers.unwrap();
        let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let text = value("Nmfw-Deadline").unwrap();
        let deadline = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
        // The deadline has millisecond precision, so it can be one too early.
        let earliest = begun + limit - Duration::from_millis(1);
        let latest = OffsetDateTime::now_utc() + limit;
        assert!((earliest..=latest).contains(&deadline), "{begun} {text}");
        assert!(text.ends_with('Z') && text.len() == "2026-01-01T00:00:00.000Z".len(), "{text}");
        let own = value("Nmfw").unwrap();
        assert!(own.starts_with("1;t=") && own.ends_with(";v=0.1.0"), "{own}");
        assert_eq!(value("Nmfw-Version"), None);
        assert_eq!(value("Nmfw-Client-Version"), None);

        let channel = Channel::from(&nats).go_compatible();
        CalcClient::new(channel).add(numbers()).await.unwrap();
        let headers = requests.recv().await.unwrap().headers.unwrap();
        let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert!(value("Nmfw-Version").is_some_and(|version| !version.is_empty()), "{headers:?}");
        assert_eq!(value("Nmfw-Client-Version").as_deref(), Some("0.1.0"));
        assert!(value("Nmfw-Deadline").is_some());
    }

    /// A body of another type, which only a client of another version would send.
    async fn a_body_of_another_type_is_sent_as_it_is(broker: TestBroker) {
        let answer = Answer::error("invalid request", "REQ_INVALID");
        let mut requests = go_service(&broker, vec![answer]).await;
        let channel = Channel::new(nmfw::connect(broker.url()).await.unwrap());
        let blob = Blob { data: b"abc".to_vec() };
        let client = nmfw::codegen::v1::Client::new(&channel);
        let call = client.unary::<_, CalcResponse>(CalcClient::ADD, blob);
        assert_eq!(call.await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(requests.recv().await.unwrap().payload, b"\x0a\x03abc".as_slice());
    }

    /// The discovery of Go nmfw is older than endpoints: INFO has a list of subjects.
    async fn waiting_for_its_service(broker: TestBroker) {
        let client = plain(&broker).await;
        let mut asked = client.subscribe("$SRV.INFO.calc").await.unwrap();
        round_trip(&client, LIMIT).await.unwrap();
        let old = r#"{"name":"calc","id":"nLjTeuytTfEdoDgErw0Wf2","version":"0.0.2","type":
            "io.nats.micro.v1.info_response","description":"","subjects":["nmfw.calc.Average",
            "nmfw.calc.Add","nmfw.calc.Expression"]}"#;
        let other = r#"{"name":"calc","id":"x","version":"1.0.0","type":
            "io.nats.micro.v1.info_response","endpoints":null,"subjects":["other.Add"]}"#;
        let answer = async {
            for body in [other, "not JSON", "{}", old] {
                let reply = asked.next().await.unwrap().reply.unwrap();
                client.publish(reply, body.into()).await.unwrap();
            }
        };
        let waiting = calc::client(&broker.url()).await.unwrap();
        let (ready, ()) = tokio::join!(waiting.wait_ready(LIMIT), answer);
        ready.unwrap();
    }

    async fn its_service_is_gone(broker: TestBroker) {
        let client = calc::client(&broker.url()).await.unwrap();
        let call = client.add(numbers()).timeout(Duration::from_secs(50));
        let status = timeout(LIMIT, call.send()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("nmfw.calc.Add"), "{status}");
        assert!(status.is_not_started());
    }
}
