//! Users with exactly the generated permissions, and helpers for testing these.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]

use std::{fmt::Debug, time::Duration};

use nmfw::{
    Channel, Code, Connection, NatsChannel as _, Server, Status,
    permissions::{Permissions, Rules},
    server::{Running, Service},
};
use tokio::time::timeout;

use crate::{
    NatsServer,
    streams::{
        CountRequest, Flows, STREAMS_SPEC, StreamsClient, StreamsServer, Total, item, items,
    },
};

/// Longer than any step.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Far above the limit: a denial must not look like a timeout.
pub const NEVER: Duration = Duration::from_secs(500);

/// More bytes than one message may have.
pub const LARGE: u32 = 3 << 20;

/// The methods of the streams service: one of each kind.
pub const METHODS: [&str; 4] = ["Echo", "Count", "Sum", "Chat"];

/// Returns a user for nats-server's configuration; its password is `x`.
#[must_use]
pub fn user(name: &str, rules: impl Into<Rules>) -> String {
    let rules = rules.into().nats_config();
    format!("{{ user: {name:?}, password: x\n{rules} }}\n")
}

/// Starts a nats-server with exactly these users.
pub async fn server(users: &[String]) -> NatsServer {
    let users = users.concat();
    NatsServer::builder()
        .config(format!("authorization {{ users: [\n{users}] }}"))
        .start()
        .await
        .unwrap()
}

/// Connects as a user.
pub async fn connect(server: &NatsServer, user: &str) -> Connection {
    nmfw::connect(format!("nats://{user}:x@127.0.0.1:{}", server.port()))
        .await
        .unwrap()
}

/// Starts a service.
///
/// # Errors
/// Fails if the service does not start.
pub async fn start(nats: Connection, service: Service) -> Result<Running, nmfw::Error> {
    let starting = Server::new(nats).add_service(service).start();
    timeout(LIMIT, starting).await.expect("starting hangs")
}

/// Serves the streams service.
pub async fn serve(server: &NatsServer, user: &str) -> Running {
    let service = StreamsServer::new(Flows::default());
    start(connect(server, user).await, service).await.unwrap()
}

/// Returns all denials in the server's log.
#[must_use]
pub fn violations(server: &NatsServer) -> Vec<String> {
    let log = server.log().text();
    let violations = log.lines().filter(|line| line.contains("Violation"));
    violations.map(str::to_owned).collect()
}

/// Returns the permissions of the streams service.
pub fn service() -> Permissions {
    Permissions::service(&STREAMS_SPEC).unwrap()
}

/// Returns the permissions of its clients.
pub fn client() -> Permissions {
    Permissions::client(&STREAMS_SPEC).unwrap()
}

/// Returns a request to count to `to`, and the expected total.
#[must_use]
pub fn counted(to: u64, size: u32) -> (CountRequest, Total) {
    let mut expected = Total::default();
    for number in 0..to {
        expected.add(&item(number, size));
    }
    let request = CountRequest {
        to,
        size,
        ..CountRequest::default()
    };
    (request, expected)
}

/// Calls a method, with this number and size of messages.
///
/// # Errors
/// Returns the error of the call.
pub async fn call(client: &StreamsClient, method: &str, to: u64, size: u32) -> Result<(), Status> {
    let (request, expected) = counted(to, size);
    let total = match method {
        "Echo" => {
            let sent = item(1, size);
            let got = client.echo(sent.clone()).timeout(NEVER).await?;
            assert!(got == sent);
            return Ok(());
        }
        "Count" => Total::of(client.count(request).timeout(NEVER).await?).await?,
        "Sum" => client.sum(items(0, to, size)).timeout(NEVER).await?,
        "Chat" => Total::of(client.chat(items(0, to, size)).timeout(NEVER).await?).await?,
        other => panic!("no method {other}"),
    };
    assert_eq!(total, expected, "{method}");
    Ok(())
}

/// Checks calls in base mode where possible, and in sessions: with few and many messages, small and
/// large.
pub async fn works(client: &StreamsClient, method: &str) {
    for (to, size) in [(3, 1), (2_000, 1_000), (3, LARGE)] {
        timeout(LIMIT, call(client, method, to, size))
            .await
            .unwrap_or_else(|_| panic!("{method} hangs"))
            .unwrap_or_else(|status| panic!("{method} of {size} bytes: {status}"));
    }
}

/// Creates both kinds of clients on a connection.
#[must_use]
pub fn clients(nats: &Connection) -> [StreamsClient; 2] {
    [
        StreamsClient::new(nats),
        StreamsClient::new(Channel::new(nats.clone()).multiplexed()),
    ]
}

/// Checks that the call is soon denied, with the subject in the text.
pub async fn denied<T: Debug>(call: impl Future<Output = Result<T, Status>>, subject: &str) {
    let status = timeout(LIMIT, call)
        .await
        .unwrap_or_else(|_| panic!("a denied call hangs: {subject}"))
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{subject}: {status}");
    assert!(status.message().contains(subject), "{subject} in {status}");
}

/// Stops a service, which must succeed.
pub async fn stop(running: Running) {
    running.stop();
    timeout(LIMIT, running.join())
        .await
        .expect("stopping hangs")
        .unwrap();
}
