//! Spans of calls, as exported by OpenTelemetry.

#![cfg(test)]

use nmfw::async_nats::ConnectionExt as _;
use std::{sync::OnceLock, time::Duration};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use nmfw::{Channel, Code, NatsChannel as _, Server, server::Running};
use nmfw_tests::{
    TestBroker, eventually,
    foreign_peer::headers,
    on_both_brokers,
    puppet::{
        self, Blob, FailRequest, PUPPET_SPEC, PuppetClient, PuppetServer, SleepRequest, Strings,
    },
    relay::{Relay, relay_subject, relayed},
    streams::{self, CountRequest, Flows, StreamsClient, Total, items},
};
use opentelemetry::{
    SpanId, TraceId,
    trace::{SpanKind, Status as SpanStatus, TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::time::timeout;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

const LIMIT: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn provider(exporter: InMemorySpanExporter) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_simple_exporter(exporter)
        .build()
}

/// Returns the spans exported in this process; tests identify their own by trace.
fn exported() -> Vec<SpanData> {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let tracer = provider(exporter.clone()).tracer("tests");
        tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(tracing_opentelemetry::layer().with_tracer(tracer))
            .init();
        exporter
    });
    exporter.get_finished_spans().unwrap()
}

/// A trace and the spans made in it.
struct Trace {
    root: Span,
    id: TraceId,
    root_id: SpanId,
}

impl Trace {
    fn start() -> Self {
        exported();
        let root = info_span!("test");
        let context = root.context();
        let span = context.span();
        let (id, root_id) = (
            span.span_context().trace_id(),
            span.span_context().span_id(),
        );
        assert_ne!(id, TraceId::INVALID);
        Self { root, id, root_id }
    }

    /// Makes a call in this trace.
    async fn of<F: IntoFuture>(&self, call: F) -> F::Output {
        call.into_future().instrument(self.root.clone()).await
    }

    /// Waits for `N` spans of calls, because a service may end its span after the response has
    /// arrived.
    async fn calls<const N: usize>(&self) -> [SpanData; N] {
        self.in_a_line(self.root_id, N).await.try_into().unwrap()
    }

    /// Checks that each span is the only child of the previous one.
    async fn in_a_line(&self, root: SpanId, count: usize) -> Vec<SpanData> {
        in_a_line(self.id, root, count).await
    }
}

fn spans_of(id: TraceId) -> Vec<SpanData> {
    let mut spans = exported();
    spans.retain(|span| span.span_context.trace_id() == id);
    spans
}

async fn in_a_line(id: TraceId, root: SpanId, count: usize) -> Vec<SpanData> {
    let spans = eventually(LIMIT, || async {
        let spans = spans_of(id);
        match spans.len() {
            len if len == count => Ok(spans),
            _ => Err(format!("{} spans: {spans:#?}", spans.len())),
        }
    })
    .await;
    let mut line = Vec::new();
    let mut parent = root;
    for _ in 0..count {
        let mut children = spans.iter().filter(|span| span.parent_span_id == parent);
        let child = children.next().unwrap_or_else(|| panic!("{spans:#?}"));
        assert!(children.next().is_none(), "{spans:#?}");
        line.push(child.clone());
        parent = child.span_context.span_id();
    }
    line
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|kv| kv.key.as_str() == key);
    let value = found.next()?.value.to_string();
    assert!(found.next().is_none(), "{key} twice");
    Some(value)
}

/// Checks the attributes with these keys.
#[track_caller]
fn assert_attributes(span: &SpanData, wanted: &[(&str, Option<&str>)]) {
    for (key, value) in wanted {
        assert_eq!(
            attribute(span, key).as_deref(),
            *value,
            "{key} of {span:#?}"
        );
    }
}

#[track_caller]
fn assert_call(span: &SpanData, kind: SpanKind, method: &str) {
    assert_eq!((&span.span_kind, &*span.name), (&kind, method), "{span:#?}");
    assert_attributes(
        span,
        &[
            ("rpc.system.name", Some("nmfw")),
            ("rpc.method", Some(method)),
        ],
    );
    assert_eq!(span.parent_span_is_remote, kind == SpanKind::Server);
}

/// Creates a client; a multiplexed channel has a session when this returns.
async fn open(channel: Channel) -> PuppetClient {
    let client = PuppetClient::new(channel);
    eventually(LIMIT, || async {
        let seen = client
            .inspect(())
            .await
            .map_err(|status| status.to_string())?;
        match seen.reply.contains(".s.") {
            true => Ok(()),
            false => Err(seen.reply),
        }
    })
    .await;
    client
}

/// Creates a client of a relay that calls the puppet, both in base mode or both in sessions.
async fn chain(url: &str, is_multiplexed: bool) -> (PuppetClient, [Running; 2]) {
    let end = puppet::serve(url, &Strings::default()).await.unwrap();
    let [client, next] = [
        nmfw::connect(url).await.unwrap(),
        nmfw::connect(url).await.unwrap(),
    ];
    let (client, next) = (relayed(client), Channel::new(next));
    let relay = match is_multiplexed {
        true => Relay::new({
            let next = next.multiplexed();
            open(next.clone()).await;
            next
        }),
        false => Relay::new(next),
    };
    let middle = relay.serve(url).await.unwrap();
    let client = match is_multiplexed {
        true => open(client.multiplexed()).await,
        false => PuppetClient::new(client),
    };
    (client, [end, middle])
}

fn fail(code: Code) -> FailRequest {
    FailRequest {
        code: code.number(),
        message: "as requested".to_owned(),
        ..FailRequest::default()
    }
}

/// Subscribes as a service that does not answer, and returns the received headers.
async fn headers_of_one_request(nats: &async_nats::Client) -> impl Future<Output = HeaderMap> {
    let subject = nmfw_tests::foreign_peer::subject("Echo");
    let mut requests = nats.subscribe(subject).await.unwrap();
    nats.flush().await.unwrap();
    let nats = nats.clone();
    async move {
        let request = timeout(LIMIT, requests.next()).await.unwrap().unwrap();
        nats.publish(request.reply.unwrap(), "".into())
            .await
            .unwrap();
        request.headers.unwrap()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

on_both_brokers! {
    /// Client, server, downstream server.
    async fn calls_are_children_of_those_that_make_them(broker: TestBroker) {
        for is_multiplexed in [false, true] {
            let trace = Trace::start();
            let (client, _running) = chain(&broker.url(), is_multiplexed).await;
            trace.of(client.echo(Blob::default())).await.unwrap();
            let [sent, handled, passed_on, ended] = trace.calls().await;
            for (span, kind) in [
                (&sent, SpanKind::Client),
                (&handled, SpanKind::Server),
                (&passed_on, SpanKind::Client),
                (&ended, SpanKind::Server),
            ] {
                assert_call(span, kind, "nmfw.puppet.Puppet/Echo");
                assert_eq!(span.status, SpanStatus::Unset);
                assert_attributes(span, &[
                    ("rpc.response.status_code", Some("OK")),
                    ("error.type", None),
                    ("nmfw.messages.sent", None),
                    ("nmfw.messages.received", None),
                ]);
            }
            let address = [("server.address", Some("relay"))];
            assert_attributes(&sent, &address);
            assert_attributes(&handled, &address);
            assert_attributes(&ended, &[("server.address", Some(PUPPET_SPEC.base_subject()))]);
            let instance = |span| attribute(span, "service.instance.id");
            assert!(instance(&handled).is_some() && instance(&handled) != instance(&ended));
            assert!(sent.start_time <= handled.start_time);
        }
    }

    /// A task spawned by a handler is not in its span, but its calls are made on behalf of the
    /// handler's call.
    async fn calls_on_behalf_of_a_call_are_its_children(broker: TestBroker) {
        for is_multiplexed in [false, true] {
            let trace = Trace::start();
            let (client, _running) = chain(&broker.url(), is_multiplexed).await;
            trace.of(client.inspect(())).await.unwrap();
            let [_, _, passed_on, _] = trace.calls().await;
            assert_call(&passed_on, SpanKind::Client, "nmfw.puppet.Puppet/Inspect");
        }
    }

    async fn errors_are_noted(broker: TestBroker) {
        for (code, is_fault) in [(Code::NotFound, false), (Code::DataLoss, true)] {
            for is_multiplexed in [false, true] {
                let trace = Trace::start();
                let (client, _running) = chain(&broker.url(), is_multiplexed).await;
                trace.of(client.fail(fail(code))).await.unwrap_err();
                for span in trace.calls::<4>().await {
                    let is_error = is_fault || span.span_kind == SpanKind::Client;
                    let status = match is_error {
                        true => SpanStatus::error("as requested"),
                        false => SpanStatus::Unset,
                    };
                    assert_eq!(span.status, status, "{span:#?}");
                    assert_attributes(&span, &[
                        ("rpc.response.status_code", Some(code.name())),
                        ("error.type", is_error.then_some(code.name())),
                    ]);
                }
            }
        }
    }

    async fn panics_and_late_calls_are_noted(broker: TestBroker) {
        for is_multiplexed in [false, true] {
            let (client, _running) = chain(&broker.url(), is_multiplexed).await;
            let trace = Trace::start();
            trace.of(client.panic(())).await.unwrap_err();
            for span in trace.calls::<4>().await {
                assert!(matches!(span.status, SpanStatus::Error { .. }), "{span:#?}");
                assert_attributes(&span, &[("error.type", Some("INTERNAL"))]);
            }

            let trace = Trace::start();
            let forever = SleepRequest { millis: 600_000 };
            let call = client.sleep(forever).timeout(Duration::from_millis(200));
            trace.of(call).await.unwrap_err();
            let [sent, others @ ..] = trace.calls::<4>().await;
            assert_attributes(&sent, &[("error.type", Some("DEADLINE_EXCEEDED"))]);
            for span in others {
                // Downstream servers may notice first that their caller is gone.
                let code = attribute(&span, "rpc.response.status_code").unwrap();
                assert!(["DEADLINE_EXCEEDED", "CANCELLED"].contains(&&*code), "{code}");
            }
        }
    }

    /// At least the caller's own span is recorded: the end of the handler depends on the mode.
    async fn calls_that_are_given_up_are_noted(broker: TestBroker) {
        let strings = Strings::default();
        let _running = puppet::serve(&broker.url(), &strings).await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let trace = Trace::start();
        let call = client.sleep(SleepRequest { millis: 600_000 });
        let call = tokio::spawn(call.send().instrument(trace.root.clone()));
        eventually(LIMIT, || async { strings.started() == 1 }).await;
        call.abort();
        let [sent] = trace.calls().await;
        assert_attributes(&sent, &[("rpc.response.status_code", Some("CANCELLED"))]);
    }

    async fn streams_have_a_span_with_their_messages(broker: TestBroker) {
        let _running = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        streams_count(&client, true).await;
    }

    /// Streams in both directions that are dropped early, and a stream that fails.
    async fn streams_that_end_early(broker: TestBroker) {
        let _running = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let trace = Trace::start();
        let request = CountRequest { to: 5, fail_at: Some(3), ..CountRequest::default() };
        let answers = trace.of(client.count(request)).await.unwrap();
        let status = Total::of(answers).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss);
        let [sent, handled] = trace.calls().await;
        for span in [&sent, &handled] {
            assert_eq!(span.status, SpanStatus::error("requested failure"));
        }
        assert_attributes(&sent, &[("nmfw.messages.received", Some("3"))]);
        assert_attributes(&handled, &[("nmfw.messages.sent", Some("3"))]);

        let trace = Trace::start();
        let request = CountRequest { to: 5, hang: true, ..CountRequest::default() };
        let answers = trace.of(client.count(request)).await.unwrap().take(5).collect::<Vec<_>>().await;
        assert_eq!(answers.len(), 5);
        for (span, key) in trace.calls::<2>().await.iter().zip(["received", "sent"]) {
            assert_attributes(span, &[
                ("rpc.response.status_code", Some("CANCELLED")),
                (&format!("nmfw.messages.{key}"), Some("5")),
            ]);
        }
    }

    /// A call has one span, regardless of the number of attempts.
    async fn a_call_that_is_sent_again_has_one_span(broker: TestBroker) {
        let strings = Strings::default();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = PuppetServer::new(strings.clone()).concurrency(1).queue(0);
        let _running = Server::new(nats.clone()).add_service(service).start().await.unwrap();
        let busy = PuppetClient::new(&nats).sleep(SleepRequest { millis: 600_000 });
        let _busy = tokio::spawn(busy.send());
        eventually(LIMIT, || async { strings.started() == 1 }).await;

        let trace = Trace::start();
        let client = PuppetClient::new(Channel::new(nats).max_attempts(3));
        let status = trace.of(client.sleep(SleepRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let [sent] = trace.calls().await;
        assert_attributes(&sent, &[
            ("nmfw.resends", Some("2")),
            ("error.type", Some("RESOURCE_EXHAUSTED")),
        ]);
    }

    async fn a_traceparent_of_any_client_is_the_parent(broker: TestBroker) {
        // No trace has two spans of that id, so the tests of both brokers use different traces.
        let id = format!("{:032x}", u128::from_str_radix(TRACE, 16).unwrap() + u128::from(broker.port()));
        let traceparent = format!("00-{id}-{SPAN}-01");
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let seen = headers_of_one_request(nats.client()).await;
        let _relay = { exported(); Relay::new(&nats).serve(&broker.url()).await.unwrap() };
        let sent = headers(&[("Traceparent", &traceparent), ("tracestate", "a=1,b=2")]);
        let request = nats.client().request_with_headers(relay_subject("Echo"), sent, "".into());
        let (seen, reply) = tokio::join!(seen, request);
        assert_eq!(reply.unwrap().headers, None);

        let id = TraceId::from_hex(&id).unwrap();
        let spans = in_a_line(id, SpanId::from_hex(SPAN).unwrap(), 2).await;
        assert_call(&spans[0], SpanKind::Server, "nmfw.puppet.Puppet/Echo");
        // The trace context of the handler's call.
        let own = spans[1].span_context.span_id();
        assert_eq!(header(&seen, "traceparent"), format!("00-{id}-{own}-01"));
        assert_eq!(header(&seen, "tracestate"), "a=1,b=2");
    }

    async fn a_traceparent_that_is_none_is_as_if_it_were_not_there(broker: TestBroker) {
        exported();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let running = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let id = running.services()[0].id.clone();
        for bad in ["nonsense", "00-0-0-01", &format!("ff-{TRACE}-{SPAN}-01"), ""] {
            let sent = headers(&[("traceparent", bad), ("tracestate", "a=1")]);
            let reply = nmfw_tests::foreign_peer::request(nats.client(), "Echo", sent, "").await;
            assert_eq!(reply.unwrap().headers, None, "{bad:?}");
        }
        let spans = eventually(LIMIT, || async {
            let mut spans = exported();
            spans.retain(|span| attribute(span, "service.instance.id").as_ref() == Some(&id));
            (spans.len() == 4).then_some(spans)
        })
        .await;
        for span in spans {
            assert_eq!(span.parent_span_id, SpanId::INVALID);
            assert_eq!(span.span_context.trace_state().header(), "");
        }
    }
}

/// Makes streaming calls of every kind.
async fn streams_count(client: &StreamsClient, is_remote: bool) {
    let trace = Trace::start();
    // Small messages, which are sent in batches, and large ones, which are not.
    let request = CountRequest {
        to: 1000,
        ..CountRequest::default()
    };
    let answers = trace.of(client.count(request)).await.unwrap();
    assert_eq!(Total::of(answers).await.unwrap().count, 1000);
    let summed = trace.of(client.sum(items(0, 20, 10_000))).await.unwrap();
    assert_eq!(summed.count, 20);
    let answers = trace.of(client.chat(items(0, 300, 10))).await.unwrap();
    assert_eq!(Total::of(answers).await.unwrap().count, 300);

    let spans = eventually(LIMIT, || async {
        let spans = spans_of(trace.id);
        (spans.len() == 6).then_some(spans)
    })
    .await;
    for (method, from_caller, from_service) in [
        ("nmfw.streams.Streams/Count", None, Some("1000")),
        ("nmfw.streams.Streams/Sum", Some("20"), None),
        ("nmfw.streams.Streams/Chat", Some("300"), Some("300")),
    ] {
        let find = |kind| {
            let mut found = spans
                .iter()
                .filter(|span| span.name == method && span.span_kind == kind);
            found.next().unwrap_or_else(|| panic!("{spans:#?}"))
        };
        let (sent, handled) = (find(SpanKind::Client), find(SpanKind::Server));
        assert_eq!(sent.parent_span_id, trace.root_id);
        assert_eq!(handled.parent_span_id, sent.span_context.span_id());
        assert_eq!(handled.parent_span_is_remote, is_remote);
        let [sent_key, received_key] = ["nmfw.messages.sent", "nmfw.messages.received"];
        assert_attributes(
            sent,
            &[(sent_key, from_caller), (received_key, from_service)],
        );
        assert_attributes(
            handled,
            &[(sent_key, from_service), (received_key, from_caller)],
        );
        for span in [sent, handled] {
            assert_attributes(span, &[("rpc.response.status_code", Some("OK"))]);
        }
    }
}

#[tokio::test]
async fn local_calls_have_both_spans() {
    streams_count(&StreamsClient::local(Flows::default()), false).await;
}

/// If a filter disables nmfw's own spans, calls belong to the surrounding span.
#[tokio::test]
async fn spans_that_are_filtered_out_are_passed_over() {
    let exporter = InMemorySpanExporter::default();
    let tracer = provider(exporter.clone()).tracer("tests");
    let filter = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("nmfw", LevelFilter::OFF);
    let spans = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(spans.with_filter(filter));
    // The whole test runs on this thread.
    let _listening = tracing::subscriber::set_default(subscriber);

    let broker = nmfw::embedded::Broker::start().await.unwrap();
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let seen = headers_of_one_request(nats.client()).await;
    let root = info_span!("test");
    let call = PuppetClient::new(&nats).echo(Blob::default());
    let (seen, outcome) = tokio::join!(seen, call.send().instrument(root.clone()));
    outcome.unwrap();
    let context = root.context();
    let (span, id) = (context.span(), context.span().span_context().trace_id());
    let own = span.span_context().span_id();
    assert_eq!(header(&seen, "traceparent"), format!("00-{id}-{own}-01"));
}
