//! Streams between accounts, and over a leaf node: on real nats-servers, because the embedded
//! broker supports neither.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nmfw::{
    Channel, Code, ConnectOptions, Connection, NatsChannel as _, Server, Status, Streaming,
    server::Running,
};
use nmfw_tests::{
    NatsServer, Proxy, eventually, free_port,
    streams::{CountRequest, Flows, StreamsClient, StreamsServer, Total, item, items},
};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// Without a session, a streaming call must fail within this time, even with a longer timeout.
const SOON: Duration = Duration::from_secs(15);

/// Returns accounts that export a service, with answers of one or of many messages, and import it
/// under its own subject and under another.
fn accounts(response_type: &str) -> String {
    format!(
        r#"
accounts {{
  SERVICES {{
    users: [ {{ user: service, password: x, permissions: {{
      subscribe: ["nmfw.flows.>", "$SRV.>"], publish: ["_INBOX.>", "_R_.>"] }} }} ]
    exports: [ {{ service: "nmfw.flows.>", response_type: {response_type} }} ]
  }}
  CALLERS {{
    users: [
      {{ user: caller, password: x, permissions: {{
        publish: ["nmfw.flows.>", "_R_.>"], subscribe: ["_INBOX.>"] }} }}
      {{ user: unary, password: x, permissions: {{
        publish: ["nmfw.flows.>"], subscribe: ["_INBOX.>"] }} }}
    ]
    imports: [ {{ service: {{ account: SERVICES, subject: "nmfw.flows.>" }} }} ]
  }}
  OTHERS {{
    users: [ {{ user: other, password: x }} ]
    imports: [ {{ service: {{ account: SERVICES, subject: "nmfw.flows.>" }}, to: "bought.flows.>" }} ]
  }}
}}
"#
    )
}

async fn serve(nats: Connection) -> Running {
    let service = StreamsServer::new(Flows::default()).subject("nmfw.flows");
    Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap()
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    nmfw::connect(format!("nats://{user}:x@127.0.0.1:{}", server.port()))
        .await
        .unwrap()
}

async fn caller(server: &NatsServer, user: &str, subject: &str) -> StreamsClient {
    let channel = Channel::new(connect(server, user).await);
    StreamsClient::new(channel.multiplexed().subject(subject))
}

fn counted(to: u64, size: u32) -> (CountRequest, Total) {
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

/// Makes calls of every kind, small and large.
async fn every_kind(client: &StreamsClient) {
    for (to, size) in [(3, 1), (5_000, 1_000), (3, 3 << 20)] {
        let (request, expected) = counted(to, size);
        let count = client.count(request).timeout(LIMIT).await.unwrap();
        assert_eq!(Total::of(count).await.unwrap(), expected);
        let sum = client.sum(items(0, to, size)).timeout(LIMIT);
        assert_eq!(sum.await.unwrap(), expected);
        let chat = client
            .chat(items(0, to, size))
            .timeout(LIMIT)
            .await
            .unwrap();
        assert_eq!(Total::of(chat).await.unwrap(), expected);
        let sent = item(1, size);
        let echo = client.echo(sent.clone()).timeout(LIMIT).await.unwrap();
        assert!(echo == sent);
    }
    let request = CountRequest {
        to: 9,
        fail_at: Some(5),
        ..CountRequest::default()
    };
    let count = client.count(request).timeout(LIMIT).await.unwrap();
    let status = Total::of(count).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
}

/// Returns the errors of every kind of streaming call without sessions.
async fn fails_soon(client: &StreamsClient, code: Code) -> [Status; 3] {
    let begin = Instant::now();
    let (request, _) = counted(9, 9);
    let count = async { Total::of(client.count(request).await?).await };
    let sum = client.sum(items(0, 9, 9)).send();
    let chat = async { Total::of(client.chat(items(0, 9, 9)).await?).await };
    let all = async { tokio::join!(count, sum, chat) };
    let (count, sum, chat) = timeout(LIMIT, all).await.expect("the calls hang");
    assert!(
        begin.elapsed() < SOON,
        "the call took {:?}",
        begin.elapsed()
    );
    [count, sum, chat].map(|outcome| {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        status
    })
}

fn denials(server: &NatsServer) -> Vec<String> {
    let log = server.log().text();
    let denials = log.lines().filter(|line| line.contains("Violation"));
    denials.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_between_accounts() {
    let server = NatsServer::builder().config(accounts("Stream"));
    let server = server.start().await.unwrap();
    let _running = serve(connect(&server, "service").await).await;
    every_kind(&caller(&server, "caller", "nmfw.flows").await).await;
    assert_eq!(denials(&server), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_between_accounts_under_another_subject() {
    let server = NatsServer::builder().config(accounts("Stream"));
    let server = server.start().await.unwrap();
    let _running = serve(connect(&server, "service").await).await;
    every_kind(&caller(&server, "other", "bought.flows").await).await;
    assert_eq!(denials(&server), [""; 0]);
}

/// Without `response_type: Stream`, the server delivers only one answer, the ACCEPT. Calls that
/// stream report that, and others use base mode.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_for_single_answers_has_no_streams() {
    let server = NatsServer::builder().config(accounts("Singleton"));
    let server = server.start().await.unwrap();
    let _running = serve(connect(&server, "service").await).await;
    let all = [("caller", "nmfw.flows"), ("other", "bought.flows")].map(async |(user, subject)| {
        let client = caller(&server, user, subject).await;
        let failures = fails_soon(&client, Code::Unavailable);
        let calls = async {
            for number in 0..100 {
                let echo = client.echo(item(number, 9)).timeout(LIMIT).await.unwrap();
                assert_eq!(echo, item(number, 9));
                sleep(Duration::from_millis(10)).await;
            }
        };
        let (failures, ()) = tokio::join!(failures, calls);
        for status in failures {
            assert!(status.is_not_started(), "{status}");
            assert!(status.message().contains("response_type"), "{status}");
        }
    });
    join_all(all).await;
}

/// A caller that may not publish answers, as sessions require, gets an error that names the denied
/// subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_may_only_make_requests_is_told_so() {
    let server = NatsServer::builder().config(accounts("Stream"));
    let server = server.start().await.unwrap();
    let _running = serve(connect(&server, "service").await).await;
    let client = caller(&server, "unary", "nmfw.flows").await;
    fails_soon(&client, Code::PermissionDenied).await;
    for number in 0..100 {
        let echo = client.echo(item(number, 9)).timeout(LIMIT).await.unwrap();
        assert_eq!(echo, item(number, 9));
    }
}

/// Starts a hub, and a leaf node at the edge.
async fn leaf(hub_config: &str, account: &str) -> (NatsServer, NatsServer) {
    let port = free_port().unwrap();
    let hub = NatsServer::builder()
        .config(hub_config)
        .config(format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"))
        .start()
        .await
        .unwrap();
    let leaf = NatsServer::builder()
        .config(format!(
            "leafnodes {{ remotes: [ {{ url: \"nats://{account}127.0.0.1:{port}\" }} ] }}"
        ))
        .start()
        .await
        .unwrap();
    (hub, leaf)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_a_leaf_node() {
    let (hub, leaf) = leaf("", "").await;
    for (service, caller) in [(&hub, &leaf), (&leaf, &hub)] {
        let running = serve(nmfw::connect(service.url()).await.unwrap()).await;
        let nats = nmfw::connect(caller.url()).await.unwrap();
        let client = StreamsClient::new(Channel::new(nats).multiplexed().subject("nmfw.flows"));
        client.wait_ready(LIMIT).await.unwrap();
        every_kind(&client).await;
        running.stop();
        running.join().await.unwrap();
    }
}

/// Clients of the leaf node are in the importing account.
#[tokio::test(flavor = "multi_thread")]
async fn streams_between_accounts_and_over_a_leaf_node() {
    let (hub, leaf) = leaf(&accounts("Stream"), "other:x@").await;
    let _running = serve(connect(&hub, "service").await).await;
    let nats = nmfw::connect(leaf.url()).await.unwrap();
    let client = StreamsClient::new(Channel::new(nats).multiplexed().subject("bought.flows"));
    eventually(LIMIT, || client.echo(item(1, 1)).send()).await;
    every_kind(&client).await;
}

/// Mappings end with connections, and sessions end with mappings. The client soon notices, and new
/// calls use another session.
#[tokio::test(flavor = "multi_thread")]
async fn streams_between_accounts_end_with_the_connection() {
    let server = NatsServer::builder().config(accounts("Stream"));
    let mut server = server.start().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let _running = serve(connect(&server, "service").await).await;
    let nats = ConnectOptions::new()
        .reconnect_delay(|_| Duration::from_millis(20))
        .connect(format!("nats://caller:x@127.0.0.1:{}", proxy.port()))
        .await
        .unwrap();
    let client = StreamsClient::new(Channel::new(nats).subject("nmfw.flows"));
    for is_restart in [false, true] {
        let (sender, receiver) = Streaming::channel(1);
        let mut chat = client.chat(receiver).await.unwrap();
        sender.send(item(1, 9)).await.unwrap();
        let answer = timeout(LIMIT, chat.message()).await.unwrap().unwrap();
        assert_eq!(answer, Some(item(1, 9)));

        let accepted = proxy.accepted();
        if is_restart {
            server.restart().await.unwrap();
        } else {
            proxy.cut();
        }
        eventually(LIMIT, || async { proxy.accepted() > accepted }).await;
        let begin = Instant::now();
        let (request, expected) = counted(9, 9);
        eventually(LIMIT, || async {
            // A call that begins before the client has noticed uses the old session.
            let call = client.count(request).timeout(Duration::from_secs(2));
            let count = call.await?;
            let total = Total::of(count).await?;
            assert_eq!(total, expected);
            Ok::<_, Status>(())
        })
        .await;
        assert!(
            begin.elapsed() < SOON / 2,
            "the call took {:?}",
            begin.elapsed()
        );
        let status = timeout(LIMIT, chat.message()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(
            begin.elapsed() < SOON,
            "the call took {:?}",
            begin.elapsed()
        );
    }
}
