//! Calls to one instance, and the times of calls.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use nmfw::{Channel, Code, Metadata, NatsChannel as _, Server, server::Running};
use nmfw_tests::{
    TestBroker, on_both_brokers,
    streams::{CountRequest, Flows, Item, StreamsClient, StreamsServer, items},
};

const LIMIT: Duration = Duration::from_secs(20);

async fn serve(url: &str, flows: &Flows) -> Running {
    let nats = nmfw::connect(url).await.unwrap();
    let server = Server::new(nats).add_service(StreamsServer::new(flows.clone()));
    server.start().await.unwrap()
}

fn id(running: &Running) -> String {
    running.services()[0].id.clone()
}

/// Makes a call of each kind, two of them of one message.
async fn call_all(client: &StreamsClient) {
    let item = nmfw_tests::streams::item(1, 4);
    assert_eq!(client.echo(item.clone()).await.unwrap(), item);
    let count = CountRequest {
        from: 0,
        to: 3,
        ..CountRequest::default()
    };
    let counted = client.count(count).await.unwrap();
    assert_eq!(counted.collect::<Vec<_>>().await.len(), 3);
    assert_eq!(client.sum(items(0, 5, 1)).await.unwrap().count, 5);
    let echoed = client.chat(stream::iter([item])).await.unwrap();
    assert_eq!(echoed.collect::<Vec<_>>().await.len(), 1);
    // Larger than max_payload, and so in a session.
    let large = nmfw_tests::streams::item(1, 2 * 1024 * 1024);
    assert_eq!(
        client.echo(large.clone()).timeout(LIMIT).await.unwrap(),
        large
    );
}

on_both_brokers! {
    async fn all_go_to_one_instance(broker: TestBroker) {
        let (one, other) = (Flows::default(), Flows::default());
        let running = serve(&broker.url(), &one).await;
        let _other = serve(&broker.url(), &other).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        for channel in [Channel::new(&nats), Channel::new(&nats).multiplexed()] {
            let client = StreamsClient::new(channel.instance(id(&running)));
            for _ in 0..5 {
                call_all(&client).await;
            }
        }
        assert_eq!((one.started(), other.started()), (50, 0));
    }

    async fn an_instance_that_is_gone_is_not_replaced(broker: TestBroker) {
        let flows = Flows::default();
        let running = serve(&broker.url(), &flows).await;
        let _other = serve(&broker.url(), &flows).await;
        let gone = id(&running);
        running.stop();
        running.join().await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = StreamsClient::new(Channel::new(&nats).instance(gone));
        for status in [
            client.echo(Item::default()).await.unwrap_err(),
            client.count(CountRequest::default()).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.is_not_started(), "{status}");
        }
        assert_eq!(flows.started(), 0);
        let client = StreamsClient::new(Channel::new(&nats).instance("a.b"));
        let status = client.echo(Item::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }

    async fn a_method_that_is_not_served_is_not_started(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = StreamsServer::new(Flows::default()).only(["Count"]);
        let running = Server::new(&nats).add_service(service).start().await.unwrap();
        let client = StreamsClient::new(Channel::new(&nats).instance(id(&running)));
        let status = client.echo(Item::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.is_not_started(), "{status}");
        let status = client.sum(items(0, 1, 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }

    async fn a_call_says_where_its_time_went(broker: TestBroker) {
        let running = serve(&broker.url(), &Flows::default()).await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let of = |metadata: &Metadata| metadata.get("server-timing").unwrap_or_default().to_owned();
        for channel in [Channel::new(&nats), Channel::new(&nats).multiplexed()] {
            let client = StreamsClient::new(channel);
            let item = nmfw_tests::streams::item(1, 4);
            let call = client.echo(item.clone()).metadata("Server-Timing", "*");
            let (_, metadata) = call.send_with_metadata().await.unwrap();
            let timing = of(&metadata);
            assert!(timing.starts_with(&format!("instance;desc=\"{}\", queue;dur=", id(&running))), "{timing}");
            let (_, metadata) = client.echo(item).send_with_metadata().await.unwrap();
            assert_eq!(of(&metadata), "");
            let count = CountRequest { to: 1, ..CountRequest::default() };
            let counted = client.count(count).metadata("Server-Timing", "*").await.unwrap();
            assert!(of(counted.metadata()).contains("handler;dur="));
        }
    }
}
