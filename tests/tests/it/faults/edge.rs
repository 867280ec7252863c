//! A leaf node at the edge: which instance serves which caller, and what happens to calls when the
//! link to the hub is cut. The servers are configured as in `docs/operations.md`, which also has
//! the numbers.

use std::time::{Duration, Instant};

use nmfw::{Code, Status};
use nmfw_tests::{
    Direction, eventually,
    permitted::{self, METHODS, client, clients, service, user, violations},
    places::{Caller, DEADLINE, Instance, Kind, LIMIT, Load},
    regions::Edge,
    stream_load::StreamLoad,
    streams::CountRequest,
};
use tokio::time::timeout;

/// After this time, a side of a session probes a silent peer, and ends if its peer is known to be
/// gone.
const HEARTBEAT: Duration = Duration::from_secs(10);
const VANISHED: Duration = Duration::from_secs(10);

/// Slack for a busy machine.
const SLACK: Duration = Duration::from_secs(5);

async fn callers(url: &str) -> Vec<Caller> {
    let mut callers = Vec::new();
    for kind in Kind::ALL {
        let caller = Caller::new(kind, url).await.unwrap();
        caller.works().await;
        callers.push(caller);
    }
    callers
}

/// Waits until calls fail because no instance serves them.
async fn nobody_is_there(caller: &Caller) {
    eventually(LIMIT, || async {
        let status = caller.call_within(DEADLINE).await.unwrap_err();
        let is_it = status.code() == Code::Unavailable && status.is_not_started();
        is_it.then_some(()).ok_or(status)
    })
    .await;
    // Repeated, so that it is not by chance.
    let begin = Instant::now();
    for _ in 0..10 {
        let status = caller.call().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.is_not_started(), "{status}");
    }
    let took = begin.elapsed();
    assert!(took < SLACK, "{:?}: {took:?}", caller.kind);
}

async fn each_side_calls_the_other(is_at_edge: bool) {
    let net = Edge::start("", "", "").await.unwrap();
    let (there, here) = match is_at_edge {
        true => (net.edge.url(), net.hub.url()),
        false => (net.hub.url(), net.edge.url()),
    };
    let instance = Instance::start(there).await.unwrap();
    let callers = callers(&here).await;
    for caller in &callers {
        caller.reaches(&instance).await;
    }

    net.link.down();
    let down = Instant::now();
    for caller in &callers {
        nobody_is_there(caller).await;
        let took = down.elapsed();
        assert!(took < VANISHED + SLACK, "{:?}: {took:?}", caller.kind);
    }
    net.link.up();
    let up = Instant::now();
    for caller in &callers {
        caller.reaches(&instance).await;
        let took = up.elapsed();
        assert!(took < SLACK, "{:?}: {took:?}", caller.kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_calls_the_hub() {
    each_side_calls_the_other(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_calls_the_edge() {
    each_side_calls_the_other(true).await;
}

/// With an instance on each side, no call is affected by the link.
#[tokio::test(flavor = "multi_thread")]
async fn each_side_goes_on_without_the_link() {
    let net = Edge::start("", "", "").await.unwrap();
    let edge = Instance::start(net.edge.url()).await.unwrap();
    let at_edge = callers(&net.edge.url()).await;
    let hub = Instance::start(net.hub.url()).await.unwrap();
    let at_hub = Caller::new(Kind::Base, net.hub.url()).await.unwrap();
    at_hub.reaches(&hub).await;
    let mut loads: Vec<_> = at_edge.iter().map(Load::start).collect();
    for load in &loads {
        load.goes_on(50).await;
    }
    let before = hub.calls();
    for load in &loads {
        load.goes_on(50).await;
    }
    assert_eq!(hub.calls(), before, "calls went to the hub");
    loads.push(Load::start(&at_hub));
    net.link.down();
    eventually(LIMIT, || async { net.link.open() == 0 }).await;
    for load in &loads {
        load.goes_on(100).await;
    }
    let accepted = net.link.accepted();
    net.link.up();
    eventually(LIMIT, || async { net.link.accepted() > accepted }).await;
    for load in &loads {
        load.goes_on(100).await;
    }

    // With the link, each side stands in for the other.
    let other = Caller::new(Kind::Base, net.edge.url()).await.unwrap();
    other.reaches(&edge).await;
    let stopped = edge.stop();
    stopped.await.unwrap();
    let before = hub.calls();
    for load in &loads {
        load.goes_on(50).await;
    }
    assert!(hub.calls() >= before + 50);
    for load in loads {
        let failed = load.stop().await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// If a link is restored before the peer is considered dead, lost packets are resent.
#[tokio::test(flavor = "multi_thread")]
async fn streams_outlive_a_short_cut_of_the_link() {
    let net = Edge::start("", "", "").await.unwrap();
    for (service, caller) in [(&net.hub, &net.edge), (&net.edge, &net.hub)] {
        let service = Instance::start(service.url()).await.unwrap();
        let caller = Caller::new(Kind::Stream, caller.url()).await.unwrap();
        caller.works().await;
        let mut load = StreamLoad::start(&caller.streams, 2);
        load.goes_on(LIMIT).await;
        for _ in 0..2 {
            let accepted = net.link.accepted();
            net.link.down();
            // A failed attempt of the leaf node.
            eventually(LIMIT, || async { net.link.accepted() > accepted }).await;
            net.link.up();
            load.goes_on(LIMIT).await;
        }
        load.finish(LIMIT).await;
        service.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_link_stays_away() {
    let net = Edge::start("", "", "").await.unwrap();
    let service = Instance::start(net.hub.url()).await.unwrap();
    let caller = Caller::new(Kind::Stream, net.edge.url()).await.unwrap();
    caller.works().await;
    // A silent stream, in its own session.
    let idle_caller = Caller::new(Kind::Stream, net.edge.url()).await.unwrap();
    let finished = service.flows.finished();
    let busy = CountRequest {
        to: u64::MAX,
        pause_micros: 1_000,
        ..CountRequest::default()
    };
    let idle = CountRequest {
        to: 1,
        hang: true,
        ..CountRequest::default()
    };
    let mut busy = caller.streams.count(busy).await.unwrap();
    let mut idle = idle_caller.streams.count(idle).await.unwrap();
    busy.message().await.unwrap().unwrap();
    idle.message().await.unwrap().unwrap();

    net.link.down();
    let down = Instant::now();
    let busy = async {
        let status = loop {
            if let Err(status) = busy.message().await {
                break status;
            }
        };
        (status, down.elapsed())
    };
    let idle = async {
        let status = idle.message().await.unwrap_err();
        (status, down.elapsed())
    };
    let ends = async { tokio::join!(busy, idle) };
    let ends = timeout(HEARTBEAT + VANISHED + SLACK, ends).await;
    let (busy, idle): ((Status, Duration), (Status, Duration)) = ends.expect("a stream hangs");
    for (status, took) in [busy, idle] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(took >= VANISHED - Duration::from_secs(1), "{took:?}");
    }
    // The service notices too.
    eventually(LIMIT, || async { service.flows.dropped() == 2 }).await;
    assert_eq!(service.flows.finished(), finished);
    net.link.up();
    eventually(LIMIT, || caller.call()).await;
}

/// No connection is closed, and no data arrives: servers find out by their pings.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_noticed_by_pings() {
    let pings = "ping_interval: \"500ms\", ping_max: 2";
    let net = Edge::start(pings, pings, "").await.unwrap();
    let hub = Instance::start(net.hub.url()).await.unwrap();
    let caller = Caller::new(Kind::Base, net.edge.url()).await.unwrap();
    caller.reaches(&hub).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        net.link.stall(direction);
    }
    let status = caller.call().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    nobody_is_there(&caller).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        net.link.resume(direction);
    }
    caller.reaches(&hub).await;
}

/// The leaf node has the permissions of a client, which apply to all callers at the edge.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_node_with_the_permissions_of_a_client() {
    let users = user("service", service()) + &user("client", client());
    let users = format!("authorization {{ users: [\n{users}] }}");
    let net = Edge::start(&users, "", "client:x@").await.unwrap();
    let _running = permitted::serve(&net.hub, "service").await;
    let nats = nmfw::connect(net.edge.url()).await.unwrap();
    for client in clients(&nats) {
        eventually(LIMIT, || permitted::call(&client, "Echo", 1, 1)).await;
        for method in METHODS {
            permitted::works(&client, method).await;
        }
    }
    for server in [&net.hub, &net.edge] {
        assert_eq!(violations(server), [""; 0]);
    }
}
