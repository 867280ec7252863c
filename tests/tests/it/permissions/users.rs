//! Users with the necessary permissions, and with fewer: on a real nats-server, because the
//! embedded broker has no users.

use std::time::Duration;

use nmfw::server::Running;
use nmfw::{Channel, Code, Connection, ErrorKind, NatsChannel as _, Server, Status};
use nmfw_tests::calc::{AddRequest, AverageRequest, CalcClient, CalcServer, Calculator};
use nmfw_tests::puppet::{PuppetClient, PuppetServer, SleepRequest, Strings};
use nmfw_tests::streams::{self, CountRequest, Flows, Item, StreamsClient, StreamsServer, Total};
use nmfw_tests::{NatsServer, eventually};
use tokio::time::timeout;

/// Far below the timeouts of the calls here: a denial must not look like a timeout.
const LIMIT: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(50);

const USERS: &str = r#"
authorization { users: [
  { user: service, password: x, permissions: {
      subscribe: ["nmfw.calc.>", "$SRV.>"], publish: ["_INBOX.>", "_R_.>"] } }
  { user: client, password: x, permissions: {
      publish: ["nmfw.calc.>"], subscribe: ["_INBOX.>"] } }
  { user: seeker, password: x, permissions: {
      publish: ["nmfw.calc.>", "$SRV.INFO.calc"], subscribe: ["_INBOX.>"] } }
  { user: adder, password: x, permissions: {
      publish: ["nmfw.calc.Add"], subscribe: ["_INBOX.>"] } }
  { user: deaf, password: x, permissions: {
      publish: ["nmfw.calc.>"], subscribe: { deny: ["_INBOX.>"] } } }
  { user: private, password: x, permissions: {
      publish: ["nmfw.calc.>"], subscribe: ["_INBOX_private.>"] } }
  { user: half, password: x, permissions: {
      subscribe: ["nmfw.calc.Add", "nmfw.calc.Average", "nmfw.calc._i.>", "$SRV.>"],
      publish: ["_INBOX.>"] } }
  { user: hidden, password: x, permissions: {
      subscribe: ["nmfw.calc.>"], publish: ["_INBOX.>"] } }
  { user: mute, password: x, permissions: {
      subscribe: ["nmfw.calc.>", "$SRV.>"], publish: { deny: [">"] } } }
  { user: counter, password: x, permissions: {
      publish: ["nmfw.nmfw.streams.Count", "nmfw.nmfw.streams._m.Count.>"], subscribe: ["_INBOX.>"] } }
  { user: streamer, password: x, permissions: {
      subscribe: ["nmfw.nmfw.streams.>", "$SRV.>"], publish: ["_INBOX.>"] } }
  { user: open, password: x, permissions: {
      subscribe: ["nmfw.calc.>", "$SRV.>"], publish: ["_INBOX.>", "_INBOX_private.>"] } }
] }
"#;

async fn server() -> NatsServer {
    NatsServer::builder().config(USERS).start().await.unwrap()
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    let url = format!("nats://{user}:x@127.0.0.1:{}", server.port());
    nmfw::connect(url).await.unwrap()
}

async fn try_serve(server: &NatsServer, user: &str) -> Result<Running, nmfw::Error> {
    let nats = connect(server, user).await;
    let starting = Server::new(nats)
        .add_service(CalcServer::new(Calculator))
        .start();
    timeout(LIMIT, starting).await.expect("starting hangs")
}

async fn client(server: &NatsServer, user: &str) -> CalcClient {
    CalcClient::new(connect(server, user).await)
}

fn numbers() -> AddRequest {
    AddRequest {
        values: vec![1.0, 2.0],
    }
}

/// Checks that the call is soon denied, with the subject in the error.
async fn denied<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Status>>, subject: &str) {
    let status = timeout(LIMIT, call)
        .await
        .expect("a denied call hangs")
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(subject), "{subject} in {status}");
}

fn violations(server: &NatsServer) -> Vec<String> {
    let log = server.log().text();
    log.lines()
        .filter(|line| line.contains("Violation"))
        .map(str::to_owned)
        .collect()
}

/// Starting, calling and stopping need only the documented permissions.
#[tokio::test(flavor = "multi_thread")]
async fn least_privilege_is_enough() {
    let server = server().await;
    let service = try_serve(&server, "service").await.unwrap();
    let caller = client(&server, "client").await;
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    client(&server, "seeker")
        .await
        .wait_ready(LIMIT)
        .await
        .unwrap();
    service.stop();
    timeout(LIMIT, service.join())
        .await
        .expect("stopping hangs")
        .unwrap();
    let status = caller.add(numbers()).timeout(NEVER).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(violations(&server), [""; 0]);
}

/// Calls in flight and requests in transit are answered when a service stops, with those
/// permissions too.
#[tokio::test(flavor = "multi_thread")]
async fn least_privilege_is_enough_to_drain() {
    let server = server().await;
    let strings = Strings::default();
    let service = PuppetServer::new(strings.clone())
        .name("calc")
        .subject("nmfw.calc");
    let nats = connect(&server, "service").await;
    let service = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let channel = Channel::new(connect(&server, "client").await).subject("nmfw.calc");
    let caller = PuppetClient::new(channel);
    let calls: Vec<_> = (0..200)
        .map(|_| tokio::spawn(caller.sleep(SleepRequest { millis: 300 }).send()))
        .collect();
    eventually(LIMIT, || async { strings.started() == 200 }).await;
    service.stop();
    service.join().await.unwrap();
    assert_eq!(strings.finished(), 200);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(violations(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_method_is_allowed() {
    let server = server().await;
    let _service = try_serve(&server, "service").await.unwrap();
    let caller = client(&server, "adder").await;
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    for _ in 0..3 {
        let average = caller.average(AverageRequest::default()).timeout(NEVER);
        denied(average.send(), "nmfw.calc.Average").await;
        // The connection, and concurrent calls, are unaffected.
        assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    }
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let caller = caller.clone();
            tokio::spawn(async move {
                if n % 2 == 0 {
                    let average = caller.average(AverageRequest::default()).timeout(NEVER);
                    denied(average.send(), "nmfw.calc.Average").await;
                } else {
                    caller.add(numbers()).await.unwrap();
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_is_denied() {
    let server = server().await;
    let _service = try_serve(&server, "service").await.unwrap();
    let caller = client(&server, "deaf").await;
    for _ in 0..2 {
        denied(caller.add(numbers()).timeout(NEVER).send(), "_INBOX.").await;
    }
    denied(caller.wait_ready(NEVER), "_INBOX.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_prefix_of_its_own() {
    let server = server().await;
    let service = try_serve(&server, "open").await.unwrap();
    let url = format!("nats://private:x@127.0.0.1:{}", server.port());
    let options = nmfw::ConnectOptions::new().inbox_prefix("_INBOX_private");
    let nats = options.connect(&*url).await.unwrap();
    assert_eq!(nats.inbox_prefix(), "_INBOX_private");
    let caller = CalcClient::new(&nats);
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    assert_eq!(violations(&server), [""; 0]);
    // Without the prefix, that user cannot call.
    let caller = client(&server, "private").await;
    denied(caller.add(numbers()).timeout(NEVER).send(), "_INBOX.").await;
    drop(service);
}

/// `wait_ready` queries discovery, which needs a permission that calls do not need.
#[tokio::test(flavor = "multi_thread")]
async fn asking_discovery_is_denied() {
    let server = server().await;
    let _service = try_serve(&server, "service").await.unwrap();
    let caller = client(&server, "client").await;
    denied(caller.wait_ready(NEVER), "$SRV.INFO.calc").await;
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_cannot_subscribe() {
    let server = server().await;
    for (user, subject) in [
        ("half", "nmfw.calc.Expression"),
        ("hidden", "$SRV."),
        ("client", "nmfw.calc."),
    ] {
        // Several times, because the denial and the answer arrive on different paths.
        for _ in 0..10 {
            let error = try_serve(&server, user).await.expect_err(user);
            assert_eq!(
                error.kind(),
                ErrorKind::PermissionDenied,
                "{user}: {error:?}"
            );
            assert!(error.to_string().contains(subject), "{user}: {error}");
        }
    }
    // All subscriptions made before the error are removed: the allowed methods are not served.
    let caller = client(&server, "client").await;
    let gone = async || match caller.add(numbers()).await {
        Err(status) if status.code() == Code::Unavailable => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(LIMIT, gone).await;
    // The allowed methods can be served alone.
    let service = CalcServer::new(Calculator).only(["Add", "Average"]);
    let nats = connect(&server, "half").await;
    let _service = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
}

/// A permission for one streaming method allows no other, not even through its session.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_method_that_streams() {
    let server = server().await;
    let flows = Flows::default();
    let _service = Server::new(connect(&server, "streamer").await)
        .add_service(StreamsServer::new(flows.clone()))
        .start()
        .await
        .unwrap();
    let nats = connect(&server, "counter").await;
    let client = StreamsClient::new(Channel::new(nats).multiplexed());
    let request = CountRequest {
        to: 1000,
        ..CountRequest::default()
    };
    for _ in 0..3 {
        let count = timeout(LIMIT, client.count(request).send()).await;
        let count = count.expect("an allowed stream hangs").unwrap();
        assert_eq!(Total::of(count).await.unwrap().count, 1000);
    }
    let sum = client.sum(streams::items(0, 3, 0));
    denied(sum.send(), "nmfw.nmfw.streams.Sum").await;
    denied(
        client.echo(Item::default()).send(),
        "nmfw.nmfw.streams.Echo",
    )
    .await;
    assert_eq!(flows.started(), 3, "a denied call was started");
}

/// A service without permission to answer starts, because it may be allowed to answer some callers;
/// and it stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_cannot_answer() {
    let server = server().await;
    let service = try_serve(&server, "mute").await.unwrap();
    let caller = client(&server, "client").await;
    let status = caller
        .add(numbers())
        .timeout(Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    service.stop();
    timeout(LIMIT, service.join())
        .await
        .expect("stopping hangs")
        .unwrap();
}
