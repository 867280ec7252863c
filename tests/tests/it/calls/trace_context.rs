//! Trace contexts without a subscriber of `tracing`: they pass through unchanged.

use nmfw::async_nats::ConnectionExt as _;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nmfw::{
    Channel, NatsChannel as _, TraceContext,
    middleware::{Next, Request, from_fn},
    server::Service,
};
use nmfw_tests::{
    TestBroker, eventually,
    foreign_peer::headers,
    on_both_brokers,
    puppet::{FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings},
    relay::{Relay, relay_subject, relayed},
};

const LIMIT: Duration = Duration::from_secs(30);
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACESTATE: &str = "a=1,b=2";

/// The trace contexts of the received calls, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Option<TraceContext>>>>);

impl Seen {
    /// Creates a puppet service that records trace contexts.
    fn service(&self) -> Service {
        let seen = self.clone();
        let note = from_fn(move |request: Request, next: Next| {
            let trace = request.trace_context().cloned();
            seen.0.lock().unwrap().push(trace);
            next.run(request)
        });
        PuppetServer::new(Strings::default()).layer(note)
    }

    fn last(&self) -> Option<TraceContext> {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

fn trace() -> TraceContext {
    TraceContext::new(TRACEPARENT, TRACESTATE).unwrap()
}

async fn serve(url: &str, seen: &Seen) -> nmfw::server::Running {
    let nats = nmfw::connect(url).await.unwrap();
    let server = nmfw::Server::new(nats).add_service(seen.service());
    server.start().await.unwrap()
}

on_both_brokers! {
    async fn a_call_on_behalf_of_another_takes_its_trace_on(broker: TestBroker) {
        let seen = Seen::default();
        let _end = serve(&broker.url(), &seen).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _relay = Relay::new(&nats).serve(&broker.url()).await.unwrap();
        let foreign = |method: &str, traceparent: &str| {
            let sent = headers(&[("traceparent", traceparent), ("tracestate", TRACESTATE)]);
            nats.client().request_with_headers(relay_subject(method), sent, "".into())
        };
        foreign("Sleep", TRACEPARENT).await.unwrap();
        assert_eq!(seen.last(), Some(trace()));
        // From a task that the handler has spawned.
        foreign("Inspect", TRACEPARENT).await.unwrap();
        assert_eq!(seen.last(), Some(trace()));
        // A later version, with unknown fields.
        let later = format!("01{}-and-more", &TRACEPARENT[2..]);
        foreign("Sleep", &later).await.unwrap();
        assert_eq!(seen.last().unwrap().traceparent(), later);
        foreign("Sleep", "nonsense").await.unwrap();
        assert_eq!(seen.last(), None);
        // The relay calls without a context.
        foreign("Echo", TRACEPARENT).await.unwrap();
        assert_eq!(seen.last(), None);
    }

    /// A trace context set by a layer is sent in both modes, and passes through a relay of the same
    /// mode.
    async fn layers_set_the_trace(broker: TestBroker) {
        let seen = Seen::default();
        let _end = serve(&broker.url(), &seen).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let next = Channel::new(&nats).multiplexed();
        let _relay = Relay::new(next).serve(&broker.url()).await.unwrap();
        let set = from_fn(|mut request: Request, next: Next| {
            request.set_trace_context(trace());
            next.run(request)
        });
        for channel in [relayed(nats.clone()), relayed(nats).multiplexed()] {
            let client = PuppetClient::new(channel.clone().layer(set.clone()));
            let wants_session = !format!("{channel:?}").contains("is_multiplexed: false");
            // Repeats until the calls use sessions; earlier calls carry it as well.
            eventually(LIMIT, || async {
                let reply = client.inspect(()).await.unwrap().reply;
                assert_eq!(seen.last(), Some(trace()));
                !wants_session || reply.contains(".s.")
            })
            .await;
            client.sleep(SleepRequest::default()).await.unwrap();
            assert_eq!(seen.last(), Some(trace()));
            client.fail(FailRequest::default()).await.unwrap_err();
            assert_eq!(seen.last(), Some(trace()));
        }
    }
}
