//! Regions connected by gateways: the destinations of calls, the effects of failures, and the time
//! to recover. The servers are configured as in `docs/operations.md`, which also has the numbers.

use std::time::{Duration, Instant};

use nmfw::Code;
use nmfw_tests::{
    NatsServer, eventually,
    permitted::{METHODS, call, client, clients, connect, serve, service, user, violations, works},
    places::{Caller, DEADLINE, Instance, Kind, LIMIT, Load, SUBJECT},
    regions::Regions,
    streams_process::Process,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_streams");

/// A session ends when its peer has been gone for this long.
const VANISHED: Duration = Duration::from_secs(10);

/// Calls with one message each way end sooner.
const GONE: Duration = Duration::from_secs(1);

/// Slack for a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The instance in the region is stopped and another started, with calls in flight all the time.
async fn a_region_is_left_and_come_back_to(kind: Kind) {
    let regions = Regions::start().await.unwrap();
    let near = Instance::start(regions.eu[0].url()).await.unwrap();
    let node = match kind {
        // In base mode, a request that is between two servers when the last instance of the region
        // stops is lost.
        Kind::Base => 0,
        Kind::Multiplexed | Kind::Stream => 1,
    };
    let caller = Caller::new(kind, regions.eu[node].url()).await.unwrap();
    caller.works().await;
    let far = Instance::start(regions.us[0].url()).await.unwrap();
    let far_caller = Caller::new(kind, regions.us[1].url()).await.unwrap();
    far_caller.reaches(&far).await;

    // Each region serves its own callers.
    let (near_before, far_before) = (near.calls(), far.calls());
    let load = Load::start(&caller);
    load.goes_on(200).await;
    assert_eq!(far.calls(), far_before);
    assert!(near.calls() >= near_before + 200);

    // No call is lost when the region is left.
    near.stop().await.unwrap();
    let before = far.calls();
    load.goes_on(200).await;
    assert!(far.calls() >= before + 200 - Load::CALLERS as u64);

    // No call is lost when the region is used again, even under load.
    let near = Instance::start(regions.eu[0].url()).await.unwrap();
    eventually(LIMIT, || async { near.calls() > 100 }).await;
    if kind == Kind::Base {
        let before = far.calls();
        load.goes_on(200).await;
        assert_eq!(far.calls(), before);
    }
    let failed = load.stop().await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_left_and_come_back_to_in_base_mode() {
    a_region_is_left_and_come_back_to(Kind::Base).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_left_and_come_back_to_multiplexed() {
    a_region_is_left_and_come_back_to(Kind::Multiplexed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_left_and_come_back_to_by_streams() {
    a_region_is_left_and_come_back_to(Kind::Stream).await;
}

/// Only calls in flight are lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_costs_what_it_had_begun() {
    let regions = Regions::start().await.unwrap();
    let mut near = Process::serve(PROGRAM, &regions.eu[0].url(), SUBJECT).unwrap();
    let mut callers = Vec::new();
    for kind in Kind::ALL {
        let caller = Caller::new(kind, regions.eu[1].url()).await.unwrap();
        caller.works().await;
        callers.push(caller);
    }
    let far = Instance::start(regions.us[0].url()).await.unwrap();
    let far_caller = Caller::new(Kind::Base, regions.us[1].url()).await.unwrap();
    far_caller.reaches(&far).await;
    let before = far.calls();
    let loads: Vec<_> = callers.iter().map(Load::start).collect();
    for load in &loads {
        load.goes_on(50).await;
    }
    assert_eq!(far.calls(), before);

    near.kill().unwrap();
    let killed = Instant::now();
    for caller in &callers {
        // Calls that begin now.
        eventually(LIMIT, || caller.call_within(DEADLINE / 4)).await;
        let took = killed.elapsed();
        assert!(took < SLACK, "{:?}: {took:?}", caller.kind);
    }
    let mut lost = 0;
    for (kind, load) in Kind::ALL.into_iter().zip(loads) {
        load.goes_on(50).await;
        let failed = load.stop().await.unwrap();
        // Each caller waits for the end of a call before the next.
        assert!(failed.len() <= Load::CALLERS, "{kind:?}: {failed:?}");
        lost += failed.len();
        let (code, limit) = match kind {
            Kind::Base => (Code::DeadlineExceeded, DEADLINE),
            Kind::Multiplexed => (Code::Unavailable, GONE),
            Kind::Stream => (Code::Unavailable, VANISHED),
        };
        for failed in failed {
            let status = &failed.status;
            assert_eq!(status.code(), code, "{kind:?}: {failed:?}");
            assert!(!status.is_not_started(), "{kind:?}: {failed:?}");
            assert!(failed.took < limit + SLACK, "{kind:?}: {failed:?}");
        }
    }
    assert!(lost > 0, "no calls were in flight");

    // If no instance is left anywhere, calls fail at once.
    far.stop().await.unwrap();
    for caller in &callers {
        eventually(LIMIT, || async {
            let begin = Instant::now();
            let status = caller.call().await.unwrap_err();
            let is_it = status.code() == Code::Unavailable && status.is_not_started();
            let took = begin.elapsed();
            (is_it && took < DEADLINE).then_some(()).ok_or(status)
        })
        .await;
    }
}

/// The service is in the other region. Sessions with it continue while callers move.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_move_within_their_region_keep_sessions_with_another() {
    let mut regions = Regions::start().await.unwrap();
    let far = Instance::start(regions.us[0].url()).await.unwrap();
    let urls = [&regions.eu[1], &regions.eu[0]].map(NatsServer::url);
    let mut loads = Vec::new();
    for kind in [Kind::Multiplexed, Kind::Stream] {
        let caller = Caller::new(kind, &urls[..]).await.unwrap();
        caller.works().await;
        caller.reaches(&far).await;
        loads.push(Load::start(&caller));
    }
    for load in &loads {
        load.goes_on(50).await;
    }
    regions.eu[1].kill().unwrap();
    for load in loads {
        load.goes_on(100).await;
        let failed = load.stop().await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// All servers of the region stop, and the instance with them.
#[tokio::test(flavor = "multi_thread")]
async fn callers_leave_a_region_that_is_gone() {
    let mut regions = Regions::start().await.unwrap();
    let near = Instance::start(regions.eu[0].url()).await.unwrap();
    let urls = [&regions.eu[1], &regions.eu[0], &regions.us[0]].map(NatsServer::url);
    let mut callers = Vec::new();
    for kind in Kind::ALL {
        let caller = Caller::new(kind, &urls[..]).await.unwrap();
        caller.works().await;
        caller.reaches(&near).await;
        callers.push(caller);
    }
    let far = Instance::start(regions.us[1].url()).await.unwrap();
    for server in &mut regions.eu {
        server.kill().unwrap();
    }
    let killed = Instant::now();
    for caller in &callers {
        eventually(LIMIT, || caller.call_within(DEADLINE / 4)).await;
        caller.reaches(&far).await;
        let took = killed.elapsed();
        assert!(took < 2 * SLACK, "{:?}: {took:?}", caller.kind);
    }
    drop(near);
}

/// The generated permissions suffice wherever the other side is.
#[tokio::test(flavor = "multi_thread")]
async fn the_generated_permissions_between_regions() {
    let users = user("service", service()) + &user("client", client());
    let users = format!("authorization {{ users: [\n{users}] }}");
    let regions = Regions::with(&users, "client:x@").await.unwrap();
    let _running = serve(&regions.us[0], "service").await;
    let nats = connect(&regions.eu[1], "client").await;
    for client in clients(&nats) {
        eventually(LIMIT, || call(&client, "Echo", 1, 1)).await;
        for method in METHODS {
            works(&client, method).await;
        }
    }
    for server in regions.eu.iter().chain(&regions.us) {
        assert_eq!(violations(server), [""; 0]);
    }
}
