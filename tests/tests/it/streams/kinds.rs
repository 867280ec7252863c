//! Streams of every kind, over NATS and in the same process: everyday uses.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use nmfw::{Channel, Code, Context, Server, Status, Streaming};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    streams::{
        self, CountRequest, Flows, Item, Streams, StreamsClient, StreamsServer, Total, item, items,
    },
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

fn up_to(to: u64) -> CountRequest {
    CountRequest {
        to,
        ..CountRequest::default()
    }
}

fn numbers(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.number).collect()
}

/// Checks that hold for every client, over NATS and local.
async fn every_kind(client: &StreamsClient) {
    // Server streaming: metadata first, then messages, then trailers.
    let mut count = client.count(up_to(5)).await.unwrap();
    assert_eq!(count.metadata().get("counts-to"), Some("5"));
    assert!(count.trailers().is_empty());
    let mut all = Vec::new();
    while let Some(item) = count.message().await.unwrap() {
        all.push(item);
    }
    assert_eq!(numbers(&all), [0, 1, 2, 3, 4]);
    assert_eq!(count.trailers().get("counted"), Some("5"));
    assert!(count.message().await.unwrap().is_none());

    // Client streaming.
    let mut expected = Total::default();
    for number in 1..=1000 {
        expected.add(&item(number, 10));
    }
    let call = client.sum(items(1, 1001, 10));
    let (total, metadata) = call.send_with_metadata().await.unwrap();
    assert_eq!(total, expected);
    assert_eq!(metadata.get("summed"), Some("1000"));

    // Both directions in turn: each question waits for the previous answer.
    let (questions, receiver) = Streaming::channel(1);
    let mut chat = client.chat(receiver).await.unwrap();
    for number in 0..20 {
        questions.send(item(number, 3)).await.unwrap();
        let answer = chat.message().await.unwrap().unwrap();
        assert_eq!(answer, item(number, 3));
    }
    // Half-close.
    drop(questions);
    assert!(chat.message().await.unwrap().is_none());
    assert_eq!(chat.trailers().get("echoed"), Some("20"));

    // Without messages, in either direction.
    let nothing = client.count(up_to(0)).await.unwrap();
    assert_eq!(nothing.try_collect::<Vec<_>>().await.unwrap(), []);
    assert_eq!(
        client.sum(stream::empty::<Item>()).await.unwrap(),
        Total::default()
    );
    let nothing = client.chat(stream::empty::<Item>()).await.unwrap();
    assert_eq!(nothing.try_collect::<Vec<_>>().await.unwrap(), []);
}

async fn errors(client: &StreamsClient) {
    // An error before the first message.
    let request = CountRequest {
        from: 1,
        ..CountRequest::default()
    };
    let status = client.count(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "the end is below the start");
    assert_eq!(status.metadata().get("counts-to"), Some("0"));

    // An error after messages, which all arrive.
    let request = CountRequest {
        fail_at: Some(300),
        ..up_to(1000)
    };
    let mut count = client.count(request).await.unwrap();
    for number in 0..300 {
        let item = count.message().await.unwrap().unwrap();
        assert_eq!(item.number, number);
    }
    let status = count.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.metadata().get("failed-at"), Some("300"));
    assert!(
        count.message().await.unwrap().is_none(),
        "an item followed the error"
    );

    let request = CountRequest {
        panic_at: Some(2),
        ..up_to(3)
    };
    let mut count = client.count(request).await.unwrap();
    assert!(count.message().await.unwrap().is_some());
    assert!(count.message().await.unwrap().is_some());
    let status = count.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("told"), "{status}");

    // An error of the caller's stream cancels the call, and is its outcome.
    let broken = stream::iter([Ok(item(1, 0)), Err(Status::data_loss("no more paper"))]);
    let status = client.sum(broken).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DataLoss, "no more paper")
    );
}

async fn early_answers(client: &StreamsClient) {
    // The handler ends early, while the caller would send forever.
    let endless = stream::iter(0..).map(|number| item(number, 100));
    let call = client.sum(endless).metadata("stop-after", "1000");
    assert_eq!(
        timeout(LIMIT, call.send()).await.unwrap().unwrap().count,
        1000
    );

    let (sender, receiver) = Streaming::channel(1);
    sender.send(item(7, 0)).await.unwrap();
    let chat = client.chat(receiver).metadata("stop-after", "1");
    let answers: Vec<_> = chat.await.unwrap().try_collect().await.unwrap();
    assert_eq!(numbers(&answers), [7]);
    // There is no reader any more: the caller's stream is dropped.
    timeout(LIMIT, sender.closed()).await.unwrap();
}

async fn deadlines(client: &StreamsClient, flows: &Flows) {
    let before = flows.dropped();
    let request = CountRequest {
        hang: true,
        ..up_to(3)
    };
    let call = client.count(request).timeout(Duration::from_millis(200));
    let begin = Instant::now();
    let mut count = call.await.unwrap();
    for number in 0..3 {
        assert_eq!(count.message().await.unwrap().unwrap().number, number);
    }
    let status = count.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begin.elapsed() >= Duration::from_millis(190));
    eventually(LIMIT, || async { flows.dropped() == before + 1 }).await;

    // Cancelled while the caller sends nothing.
    let silent = stream::pending::<Item>();
    let call = client.sum(silent).timeout(Duration::from_millis(50));
    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
    eventually(LIMIT, || async { flows.dropped() == before + 2 }).await;
}

async fn drops(client: &StreamsClient, flows: &Flows) {
    let (started, before) = (flows.started(), flows.dropped());
    let request = CountRequest {
        hang: true,
        ..up_to(1)
    };
    let mut count = client.count(request).await.unwrap();
    assert!(count.message().await.unwrap().is_some());
    drop(count);
    eventually(LIMIT, || async { flows.dropped() == before + 1 }).await;

    let (sender, receiver) = Streaming::<Item>::channel(1);
    let call = tokio::spawn(client.sum(receiver).send());
    eventually(LIMIT, || async { flows.started() == started + 2 }).await;
    call.abort();
    eventually(LIMIT, || async { flows.dropped() == before + 2 }).await;
    timeout(LIMIT, sender.closed()).await.unwrap();

    let (sender, receiver) = Streaming::<Item>::channel(1);
    let chat = client.chat(receiver).await.unwrap();
    drop(chat);
    eventually(LIMIT, || async { flows.dropped() == before + 3 }).await;
    timeout(LIMIT, sender.closed()).await.unwrap();
}

/// Code written against the trait works with any implementation.
async fn through_the_trait(service: &impl Streams) {
    let ctx = Context::default();
    let count = service.count(ctx.clone(), up_to(4)).await.unwrap();
    let all: Vec<_> = count.try_collect().await.unwrap();
    assert_eq!(numbers(&all), [0, 1, 2, 3]);
    let requests = Streaming::from(vec![item(1, 0), item(2, 0)]);
    assert_eq!(service.sum(ctx.clone(), requests).await.unwrap().sum, 3);
    let requests = Streaming::from(vec![item(1, 0), item(2, 0)]);
    let chat = service.chat(ctx, requests).await.unwrap();
    assert_eq!(chat.try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn in_the_same_process() {
    let flows = Flows::default();
    let client = StreamsClient::local(flows.clone());
    every_kind(&client).await;
    errors(&client).await;
    early_answers(&client).await;
    deadlines(&client, &flows).await;
    drops(&client, &flows).await;
    through_the_trait(&client).await;
    through_the_trait(&flows).await;
}

on_both_brokers! {
    async fn streams_of_every_kind(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        every_kind(&client).await;
        through_the_trait(&client).await;
    }

    async fn errors_and_early_answers(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        errors(&client).await;
        early_answers(&client).await;
    }

    async fn deadlines_and_drops(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        deadlines(&client, &flows).await;
        drops(&client, &flows).await;
    }

    /// A request over the service's limit ends the call, without further effects.
    async fn requests_that_are_too_large(broker: TestBroker) {
        let flows = Flows::default();
        let nats = nmfw::connect(&broker.url()).await.unwrap();
        let service = StreamsServer::new(flows.clone()).max_request_size(1000);
        let _running = Server::new(nats).add_service(service.clone()).start().await.unwrap();
        let over_nats = streams::client(&broker.url()).await.unwrap();
        for client in [over_nats, StreamsClient::new(Channel::local(service))] {
            let requests = stream::iter([item(1, 900), item(2, 1000), item(3, 900)]);
            let status = client.sum(requests).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.message().contains("limit of 1000"), "{status}");
            assert_eq!(client.sum(items(0, 3, 900)).await.unwrap().count, 3);
        }
    }

    /// An endless stream ends cleanly when its server stops, if the handler checks for it.
    async fn a_stop_can_be_seen(broker: TestBroker) {
        let flows = Flows::default();
        let running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let request = CountRequest {
            hang: true,
            ..up_to(2)
        };
        let call = client.count(request).metadata("until-stop", "1");
        let mut count = call.await.unwrap();
        assert!(count.message().await.unwrap().is_some());
        running.stop();
        assert!(count.message().await.unwrap().is_some());
        assert!(count.message().await.unwrap().is_none());
        let begin = Instant::now();
        timeout(LIMIT, running.join()).await.unwrap().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(9), "the stop waited for the grace period");
    }

    /// Closing a connection cancels its calls at the services.
    async fn closed_connections(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let nats = nmfw::connect(&broker.url()).await.unwrap();
        let client = StreamsClient::new(&nats);
        let request = CountRequest {
            hang: true,
            ..up_to(1)
        };
        let mut count = client.count(request).await.unwrap();
        assert!(count.message().await.unwrap().is_some());
        let begin = Instant::now();
        nats.close(LIMIT).await.unwrap();
        assert_eq!(count.message().await.unwrap_err().code(), Code::Unavailable);
        eventually(LIMIT, || async { flows.dropped() == 1 }).await;
        // Without CLOSE, the service would wait ten seconds for the client's return.
        assert!(begin.elapsed() < Duration::from_secs(9));
    }
}
