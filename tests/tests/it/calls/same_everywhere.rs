//! A call ends the same way over every transport: each row is a case, each column a transport.

mod outcome;
mod pipe;
mod service;

use std::{future::ready, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use nmfw::{
    Channel, Code, NatsChannel as _, Server, Status, Stream,
    client::{Call, CircuitBreakerLayer, HedgeLayer, RateLimitLayer, RetryLayer},
    middleware::{self, Next, Request, Response},
};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    puppet::{Blob, PuppetClient},
    streams::{CountRequest, Item, StreamsClient, StreamsServer, items},
};

use self::{
    outcome::Outcome,
    pipe::Pipe,
    service::{LeftByClient, MAX_SIZE, service},
};

const LIMIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

/// The expected end of a call, with a part of the message.
#[derive(Clone, Copy)]
enum Expected {
    Ok(&'static str),
    Failed(Code, &'static str),
    NotStarted(Code, &'static str),
}

use Expected::{Failed, NotStarted};

/// Configures a channel.
type Set = fn(Channel) -> Channel;

struct Row {
    case: &'static str,
    call: Box<dyn Fn(Channel, &'static str) -> BoxFuture<'static, Outcome>>,
    expected: Expected,
}

/// A call of `Echo`.
fn unary(
    case: &'static str,
    set: impl Fn(Channel, Item) -> (Channel, Item) + 'static,
    call: impl Fn(Call<Item>) -> Call<Item> + Copy + Send + 'static,
    expected: Expected,
) -> Row {
    Row {
        case,
        call: Box::new(move |channel, case| {
            let (channel, item) = set(channel, items_of(1).remove(0));
            let made = StreamsClient::new(channel)
                .echo(item)
                .metadata("case", case);
            Outcome::of_item(call(made)).boxed()
        }),
        expected,
    }
}

fn plain(case: &'static str, expected: Expected) -> Row {
    unary(case, |channel, item| (channel, item), |call| call, expected)
}

fn short(case: &'static str, expected: Expected) -> Row {
    let set = |channel, item| (channel, item);
    unary(case, set, |call| call.timeout(SHORT), expected)
}

fn with_channel(
    case: &'static str,
    set: impl Fn(Channel) -> Channel + 'static,
    expected: Expected,
) -> Row {
    unary(
        case,
        move |channel, item| (set(channel), item),
        |call| call,
        expected,
    )
}

fn items_of(count: u64) -> Vec<Item> {
    (0..count)
        .map(|number| nmfw_tests::streams::item(number, 4))
        .collect()
}

async fn leave(mut request: Request, next: Next) -> Result<Response, Status> {
    request.extensions_mut().insert(LeftByClient);
    next.run(request).await
}

async fn say_ok(_: Request, _: Next) -> Result<Response, Status> {
    Err(Status::new(Code::Ok, "done"))
}

/// Settings that only NATS has.
fn nats_rows() -> Vec<Row> {
    vec![with_channel(
        "",
        |channel| channel.subject("a b"),
        NotStarted(Code::InvalidArgument, "\"a b\""),
    )]
}

fn unary_rows() -> Vec<Row> {
    const OK: &str = "the handler of nmfw.streams.Streams.Echo returned an error with the code OK, \
                      which means success: done";
    let mut rows = vec![
        plain("", Expected::Ok("\0\0\0\0")),
        unary(
            "",
            |channel, _| (channel, Item::default()),
            |call| call,
            Expected::Ok(""),
        ),
        plain("ok", Failed(Code::Internal, OK)),
        plain("layer: ok", Failed(Code::Internal, "a layer returned")),
        with_channel(
            "",
            |channel| channel.layer(middleware::from_fn(say_ok)),
            Failed(Code::Internal, "a layer returned an error with the code OK"),
        ),
        plain("not started", Failed(Code::Unavailable, "the other one")),
        plain(
            "layer: not started",
            NotStarted(Code::Unavailable, "come back"),
        ),
        plain(
            "details",
            Failed(Code::Aborted, "100 % ä\n\tnew line, \u{7} and %0A"),
        ),
        plain("long", Failed(Code::Internal, "ääää")),
        plain("silent", Failed(Code::NotFound, "")),
        plain(
            "panic",
            Failed(
                Code::Internal,
                "the handler of nmfw.streams.Streams.Echo panicked",
            ),
        ),
        plain("layer: panic", Failed(Code::Internal, "panicked")),
        plain(
            "layer: metadata",
            Expected::Ok("case: \"layer: metadata\", from-layer: \"a\""),
        ),
        plain("io", Failed(Code::NotFound, "entity not found")),
        plain("join", Failed(Code::Internal, "a task panicked")),
        plain("boxed", Failed(Code::Unknown, "an error without a status")),
        plain("version", Expected::Ok("0.1.0")),
        plain("many values", Failed(Code::Internal, "limit of 256 values")),
        with_channel(
            "extension",
            |channel| channel.layer(middleware::from_fn(leave)),
            Expected::Ok("not there"),
        ),
        with_channel(
            "",
            |channel| channel.metadata("nmfw-x", "y"),
            NotStarted(Code::InvalidArgument, "reserved"),
        ),
        unary(
            "",
            |channel, mut item| {
                item.padding.resize(MAX_SIZE, 0);
                (channel, item)
            },
            |call| call,
            Failed(
                Code::ResourceExhausted,
                "exceeds this service's limit of 65536",
            ),
        ),
        plain("layer: message", Expected::Ok("")),
        unary(
            "layer: deadline",
            |channel, item| (channel, item),
            |call| call.timeout(10 * LIMIT),
            Failed(Code::DeadlineExceeded, ""),
        ),
        short("panic at the deadline", Failed(Code::DeadlineExceeded, "")),
        short("block", Failed(Code::DeadlineExceeded, "")),
        short("wait and block", Failed(Code::DeadlineExceeded, "")),
        short("block and fail", Failed(Code::DeadlineExceeded, "")),
        short("wait", Failed(Code::DeadlineExceeded, "")),
    ];
    let typos: [(&str, Set); 5] = [
        ("RetryLayer: there is no method \"Ecoh\"", |channel| {
            channel.layer(RetryLayer::new().methods(["Ecoh"]))
        }),
        ("HedgeLayer: there is no method \"Ecoh\"", |channel| {
            channel.layer(HedgeLayer::new().methods(["Count", "Ecoh"]))
        }),
        (
            "CircuitBreakerLayer: there is no method \"nmfw.streams.Streams.Ecoh\"",
            |channel| {
                let name = "nmfw.streams.Streams.Ecoh";
                channel.layer(CircuitBreakerLayer::new().methods([name]))
            },
        ),
        (
            "nmfw.streams.Streams has: Echo, Count, Sum, Chat",
            |channel| channel.layer(RateLimitLayer::new(9, SHORT).methods(["Ecoh"])),
        ),
        (
            "RateLimitLayer: methods() was called without a method",
            |channel| channel.layer(RateLimitLayer::new(9, SHORT).methods(Vec::<String>::new())),
        ),
    ];
    for (text, set) in typos {
        let expected = NotStarted(Code::InvalidArgument, text);
        rows.push(with_channel("", set, expected));
    }
    let same = |channel, item| (channel, item);
    let no_time = |call: Call<Item>| call.timeout(Duration::ZERO);
    let expected = NotStarted(Code::DeadlineExceeded, "the deadline passed before");
    rows.push(unary("", same, no_time, expected));
    let reserved = |call: Call<Item>| call.metadata("Content-Type", "x");
    let expected = NotStarted(Code::InvalidArgument, "reserved");
    rows.push(unary("", same, reserved, expected));
    let many =
        |call: Call<Item>| (0..300).fold(call, |call, i| call.metadata(format!("k{i}"), "v"));
    let expected = NotStarted(Code::InvalidArgument, "limit of 256 values");
    rows.push(unary("", same, many, expected));
    let half = |channel: Channel| {
        (0..200).fold(channel, |channel, i| channel.metadata(format!("k{i}"), "v"))
    };
    let other_half =
        |call: Call<Item>| (0..200).fold(call, |call, i| call.metadata(format!("c{i}"), "v"));
    let set = move |channel, item| (half(channel), item);
    rows.push(unary("", set, other_half, expected));
    let values = |call: Call<Item>| {
        let mut metadata = nmfw::Metadata::new();
        metadata.insert("text", "a ä 100 % \u{1f980}").unwrap();
        metadata.insert("empty", "").unwrap();
        metadata.append("Tag", "1").unwrap();
        metadata.append("Tag", "2").unwrap();
        metadata
            .insert_bin("all-bin", (0..=255).collect::<Vec<u8>>())
            .unwrap();
        metadata.insert_bin("no-bin", vec![]).unwrap();
        call.merge_metadata(&metadata)
    };
    let expected = Expected::Ok("empty: \"\", no-bin: b\"\", text: \"a ä 100 % \u{1f980}\"");
    rows.push(unary("metadata", same, values, expected));
    rows
}

/// A call of `Count` from 0 to 3.
fn count(
    case: &'static str,
    set: impl Fn(Call<nmfw::Streaming<Item>>) -> Call<nmfw::Streaming<Item>> + Send + Copy + 'static,
    expected: Expected,
) -> Row {
    Row {
        case,
        call: Box::new(move |channel, case| {
            let request = CountRequest {
                to: 3,
                ..CountRequest::default()
            };
            let call = StreamsClient::new(channel)
                .count(request)
                .metadata("case", case);
            Outcome::of_stream(set(call)).boxed()
        }),
        expected,
    }
}

fn sum<S>(case: &'static str, requests: impl Fn() -> S + 'static, expected: Expected) -> Row
where
    S: Stream<Item = Result<Item, Status>> + Send + 'static,
{
    Row {
        case,
        call: Box::new(move |channel, case| {
            let call = StreamsClient::new(channel)
                .sum(requests())
                .metadata("case", case);
            Outcome::of_total(call).boxed()
        }),
        expected,
    }
}

fn chat<S>(case: &'static str, requests: impl Fn() -> S + 'static, expected: Expected) -> Row
where
    S: Stream<Item = Result<Item, Status>> + Send + 'static,
{
    Row {
        case,
        call: Box::new(move |channel, case| {
            let call = StreamsClient::new(channel)
                .chat(requests())
                .metadata("case", case);
            Outcome::of_stream(call).boxed()
        }),
        expected,
    }
}

/// Returns a stream of three requests that then ends with `end`.
fn three(end: Status) -> impl Stream<Item = Result<Item, Status>> + Send {
    let three = items(0, 3, 4).map(Ok);
    three.chain(stream::once(ready(Err(end))))
}

fn broken() -> impl Stream<Item = Result<Item, Status>> + Send {
    three(Status::data_loss("the file is broken"))
}

/// Returns a stream that fails when the call is over, unless the call waits for it.
fn broken_later() -> impl Stream<Item = Result<Item, Status>> + Send {
    let later = tokio::time::sleep(LIMIT / 2).map(|()| Err(Status::data_loss("broken")));
    items(0, 3, 4).map(Ok).chain(stream::once(later))
}

fn large() -> impl Stream<Item = Result<Item, Status>> + Send {
    items(0, 1, 4)
        .chain(items(1, 3, u32::try_from(MAX_SIZE).unwrap()))
        .map(Ok)
}

fn panics() -> impl Stream<Item = Result<Item, Status>> + Send {
    let three = items(0, 3, 4).map(Ok);
    three.chain(stream::once(async { panic!("password=secret") }))
}

fn all_well() -> impl Stream<Item = Result<Item, Status>> + Send {
    items(0, 3, 4).map(Ok)
}

fn stream_rows() -> Vec<Row> {
    let same = |call| call;
    let short = |call: Call<nmfw::Streaming<Item>>| call.timeout(SHORT);
    let ok = "returned an error with the code OK, which means success: done";
    let of_requests = "the stream of requests to nmfw.streams.Streams.Sum returned an error with the \
                       code OK";
    let no_time = |call: Call<nmfw::Streaming<Item>>| call.timeout(Duration::ZERO);
    vec![
        count("", same, Expected::Ok("0 1 2")),
        count("ok", same, Failed(Code::Internal, ok)),
        count("ok in the middle", same, Failed(Code::Internal, ok)),
        count(
            "layer: ok",
            same,
            Failed(Code::Internal, "a layer returned"),
        ),
        count("not started", same, Failed(Code::Unavailable, "full")),
        count(
            "not started in the middle",
            same,
            Failed(Code::Unavailable, "full"),
        ),
        count(
            "layer: not started",
            same,
            NotStarted(Code::Unavailable, "come back"),
        ),
        count(
            "details",
            same,
            Failed(Code::Aborted, "100 % ä\n\tnew line, \u{7} and %0A"),
        ),
        count("panic", same, Failed(Code::Internal, "Count panicked")),
        count(
            "panic at the end",
            same,
            Failed(Code::Internal, "Count panicked"),
        ),
        count(
            "panic at the deadline",
            short,
            Failed(Code::DeadlineExceeded, ""),
        ),
        count(
            "block at the end",
            short,
            Failed(Code::DeadlineExceeded, ""),
        ),
        count("wait", short, Failed(Code::DeadlineExceeded, "")),
        count("layer: deadline", same, Failed(Code::DeadlineExceeded, "")),
        count(
            "layer: message",
            same,
            Failed(Code::Internal, "Count: a layer returned a single message"),
        ),
        count(
            "",
            no_time,
            NotStarted(Code::DeadlineExceeded, "the deadline passed before"),
        ),
        sum("", all_well, Expected::Ok("count: 3")),
        sum("ok", all_well, Failed(Code::Internal, ok)),
        sum("early", all_well, Expected::Ok("count: 0")),
        sum("early", broken_later, Expected::Ok("count: 0")),
        // The timeout of the service applies, as the caller sets none.
        sum("wait", all_well, Failed(Code::DeadlineExceeded, "")),
        sum("", broken, Failed(Code::DataLoss, "the file is broken")),
        sum(
            "report",
            broken,
            Failed(Code::DataLoss, "the file is broken"),
        ),
        sum(
            "",
            panics,
            Failed(Code::Internal, "the stream of requests panicked"),
        ),
        sum(
            "",
            || three(Status::new(Code::Ok, "done")),
            Failed(Code::Internal, of_requests),
        ),
        sum(
            "",
            || three(Status::unavailable("x").not_started()),
            Failed(Code::Unavailable, "x"),
        ),
        sum(
            "report",
            large,
            Failed(Code::ResourceExhausted, "exceeds this service's limit"),
        ),
        sum("", large, Expected::Ok("count: 1")),
        chat("", all_well, Expected::Ok("0 1 2 99")),
        chat("", broken, Failed(Code::DataLoss, "the file is broken")),
    ]
}

/// Makes each call over each channel, and checks that it ends as expected and as over the first
/// channel.
async fn compare(rows: Vec<Row>, channels: &[(&str, Channel)]) {
    let mut wrong = Vec::new();
    for Row {
        case,
        call,
        expected,
    } in rows
    {
        let mut first = None;
        for (transport, channel) in channels {
            // In a task, so that a panic or a call that never ends is a result too.
            let call = tokio::spawn(call(channel.clone(), case));
            let mut outcome = match tokio::time::timeout(LIMIT, call).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => {
                    wrong.push(format!("{case:?}, {transport}: {panic}"));
                    continue;
                }
                Err(_) => {
                    wrong.push(format!("{case:?}, {transport}: does not end"));
                    continue;
                }
            };
            let (code, text, is_not_started) = match expected {
                Expected::Ok(text) => (None, text, false),
                Failed(code, text) => (Some(code), text, false),
                NotStarted(code, text) => (Some(code), text, true),
            };
            let shown = match code {
                None => outcome.items.join(" "),
                Some(_) => outcome.message.clone(),
            };
            let is_right = outcome.code == code
                && shown.contains(text)
                && outcome.is_not_started == is_not_started;
            if !is_right || format!("{outcome:?}").contains("secret") {
                wrong.push(format!("{case:?}, {transport}: {outcome:?}"));
            }
            // The number of messages before the end of a stream varies.
            if outcome.code.is_some() {
                outcome.items.clear();
            }
            let first = first.get_or_insert_with(|| (*transport, format!("{outcome:?}")));
            if first.1 != format!("{outcome:?}") {
                wrong.push(format!(
                    "{case:?}: {} returns {}, but {transport} {outcome:?}",
                    first.0, first.1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Waits until unary calls go over a session.
async fn on_session(channel: &Channel) {
    let client = StreamsClient::new(channel);
    eventually(LIMIT, || async {
        let reply = client.echo(Item::default()).metadata("case", "reply").await;
        let reply = String::from_utf8(reply.map_err(|status| status.to_string())?.padding);
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.contains(".s.") {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

on_both_brokers! {
    async fn unary_calls(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(&nats).add_service(service()).start().await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let session = Channel::new(&nats).multiplexed();
        on_session(&session).await;
        let channels = [
            ("local", Channel::local(service())),
            ("base mode", Channel::new(nats)),
            ("session", session),
            ("pipe", Channel::new(Pipe::to(service()))),
        ];
        compare(unary_rows(), &channels).await;
        // In JSON, a message of another size is too large.
        let json = channels.clone().map(|(name, channel)| (name, channel.json()));
        let rows = unary_rows().into_iter().filter(|row| !row.case.contains("large"));
        compare(rows.collect(), &json).await;
        let over_nats = ["base mode", "session"];
        let over_nats = channels.into_iter().filter(|(name, _)| over_nats.contains(name));
        compare(nats_rows(), &over_nats.collect::<Vec<_>>()).await;
    }

    async fn streams(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(&nats).add_service(service()).start().await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let channels = [
            ("local", Channel::local(service())),
            ("session", Channel::new(nats)),
            ("pipe", Channel::new(Pipe::to(service()))),
        ];
        compare(stream_rows(), &channels).await;
        let json = channels.map(|(name, channel)| (name, channel.json()));
        compare(stream_rows(), &json).await;
    }

    /// Over NATS, no instance reports that a unary method is not served, so the codes differ.
    async fn what_is_not_served_is_not_started(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = || service().only(["Count", "Sum"]);
        let _server = Server::new(&nats).add_service(service()).start().await.unwrap();
        for (channel, code) in [
            (Channel::local(service()), Code::Unimplemented),
            (Channel::new(&nats), Code::Unavailable),
            (Channel::new(&nats).multiplexed(), Code::Unavailable),
        ] {
            let client = StreamsClient::new(&channel);
            let unary = client.echo(Item::default()).await.unwrap_err();
            let chat = client.chat(all_well()).await.unwrap_err();
            // A method of another service on the subject of an existing one.
            let other = PuppetClient::new(channel).echo(Blob::default()).await.unwrap_err();
            for (status, code) in [(unary, code), (chat, Code::Unimplemented), (other, code)] {
                assert_eq!(status.code(), code, "{status}");
                assert!(status.is_not_started(), "{status}");
            }
        }
    }
}

/// A program may contain the generated code of a service twice, for instance from two crates of its
/// workspace.
#[tokio::test]
async fn a_client_of_other_generated_code_finds_its_methods() {
    static AGAIN: nmfw::ServiceSpec = nmfw::ServiceSpec::new("nmfw.streams", "Streams")
        .with_methods(&[
            nmfw::MethodSpec::unary("More"),
            nmfw::MethodSpec::unary("Echo"),
        ]);
    let service = StreamsServer::new(nmfw_tests::streams::Flows::default());
    let client = nmfw::codegen::v1::Client::local(service);
    let sent = items_of(1).remove(0);
    let call: Call<Item> = client.unary(AGAIN.method_named("Echo"), sent.clone());
    assert_eq!(call.await.unwrap(), sent);
    let call: Call<Item> = client.unary(AGAIN.method_named("More"), sent);
    assert_eq!(call.await.unwrap_err().code(), Code::Unimplemented);
}
