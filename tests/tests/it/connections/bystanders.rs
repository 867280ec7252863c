//! Clients of the same server that subscribe to everything do not disturb others.

use nmfw::async_nats::ConnectionExt as _;
use std::time::{Duration, Instant};

use nmfw_tests::calc::{self, AddRequest, CalcClient};
use nmfw_tests::{NatsServer, TestBroker, on_both_brokers, round_trip};

const LIMIT: Duration = Duration::from_secs(10);

/// A failing round trip is abandoned after five seconds.
async fn quickly<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{what} took {:?}",
        begun.elapsed()
    );
    done
}

on_both_brokers! {
    /// `nats sub '>'` is a common way to look for a fault. It makes the listener a responder for
    /// every subject.
    async fn somebody_listens_to_everything(broker: TestBroker) {
        let listener = async_nats::connect(broker.url()).await.unwrap();
        let _everything = listener.subscribe(">").await.unwrap();
        round_trip(&listener, LIMIT).await.unwrap();

        let server = quickly("starting", calc::serve(&broker.url())).await.unwrap();
        let client = calc::client(&broker.url()).await.unwrap();
        client.wait_ready(LIMIT).await.unwrap();
        let numbers = AddRequest { values: vec![1.0, 2.0] };
        assert_eq!(client.add(numbers).await.unwrap().result, 3.0);
        server.stop();
        quickly("stopping", server.join()).await.unwrap();
    }
}

/// A service that may publish only to inboxes is not allowed the second kind of round trip, but the
/// denial is an answer, too.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_listens_to_a_restricted_service() {
    let users = r#"authorization { users: [
      { user: service, password: x, permissions: {
          subscribe: ["nmfw.calc.>", "$SRV.>"], publish: ["_INBOX.>"] } }
      { user: other, password: x } ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| format!("nats://{user}:x@127.0.0.1:{}", server.port());
    let listener = nmfw::connect(url("other")).await.unwrap();
    let _everything = listener.client().subscribe(">").await.unwrap();
    round_trip(listener.client(), LIMIT).await.unwrap();

    let service = quickly("starting", calc::serve(&url("service")))
        .await
        .unwrap();
    let client = CalcClient::new(&listener);
    let numbers = AddRequest {
        values: vec![1.0, 2.0],
    };
    assert_eq!(client.add(numbers).await.unwrap().result, 3.0);
    service.stop();
    quickly("stopping", service.join()).await.unwrap();
}
