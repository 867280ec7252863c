//! Messages far over the broker's `max_payload`, up to the limit of sessions and beyond.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use futures_util::stream;
use nmfw::{Channel, Code, Status, Streaming};
use nmfw_tests::{
    TestBroker,
    broker::Options,
    on_both_brokers,
    streams::{self, CountRequest, Flows, Item, StreamsClient, item},
};
use tokio::{sync::mpsc, time::timeout};

const LIMIT: Duration = Duration::from_secs(50);

/// What is said at once, on a machine that has much to do.
const SOON: Duration = Duration::from_secs(5);

const MAX_PAYLOAD: usize = 64 * 1024;

/// The padding of the largest item: its tag and length take five bytes.
const LARGEST: usize = (64 << 20) - 5;

/// An item whose only content is padding, which does not repeat itself with the size of packets.
fn of_size(size: usize) -> Item {
    let mut state = 1_u32;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    })
    .take(65_521)
    .collect();
    let mut padding = block.repeat(size.div_ceil(block.len()));
    padding.truncate(size);
    Item { number: 0, padding }
}

async fn start(broker: &TestBroker) -> (TestBroker, impl Drop, StreamsClient) {
    let options = Options {
        max_payload: Some(MAX_PAYLOAD),
        ..Options::default()
    };
    let broker = broker.another(options).await.unwrap();
    let running = streams::serve(&broker.url(), &Flows::default())
        .await
        .unwrap();
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let client = StreamsClient::new(Channel::new(nats).multiplexed());
    (broker, running, client)
}

/// The outcome of a call with a message that is too large.
async fn refused<T>(call: impl Future<Output = Result<T, Status>>) {
    let begin = Instant::now();
    let status = timeout(LIMIT, call).await.unwrap().err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(begin.elapsed() < SOON, "it took {:?}", begin.elapsed());
}

on_both_brokers! {
    async fn the_largest_message_goes_both_ways(broker: TestBroker) {
        let (_broker, _running, client) = start(&broker).await;
        let largest = of_size(LARGEST);
        let echo = client.echo(largest.clone()).timeout(LIMIT).await.unwrap();
        assert!(echo == largest, "it was changed on its way");
        drop(echo);
        // Beside small ones, which come in their order.
        let items = [item(1, 9), largest.clone(), item(2, 9)];
        let mut chat = client.chat(stream::iter(items)).timeout(LIMIT).await.unwrap();
        assert_eq!(chat.message().await.unwrap().unwrap().number, 1);
        assert!(chat.message().await.unwrap().unwrap() == largest, "it was changed on its way");
        assert_eq!(chat.message().await.unwrap().unwrap().number, 2);
        assert!(chat.message().await.unwrap().is_none());
    }

    async fn the_largest_request_and_the_largest_answer(broker: TestBroker) {
        let (_broker, _running, client) = start(&broker).await;
        let total = client.sum(stream::iter([of_size(LARGEST)])).timeout(LIMIT).await.unwrap();
        assert_eq!((total.count, total.bytes), (1, LARGEST as u64));
        let request = CountRequest { to: 1, size: LARGEST as u32, ..CountRequest::default() };
        let mut count = client.count(request).timeout(LIMIT).await.unwrap();
        assert_eq!(count.message().await.unwrap().unwrap().padding.len(), LARGEST);
        assert!(count.message().await.unwrap().is_none());
    }

    /// Which ends its call, and nothing else of the session.
    async fn a_byte_more_is_refused_at_once(broker: TestBroker) {
        let (_broker, _running, client) = start(&broker).await;
        // Under way all the time.
        let (sender, receiver) = mpsc::channel(1);
        let mut other = client.chat(Streaming::from(receiver)).await.unwrap();
        for number in 1..=2 {
            let too_large = of_size(LARGEST + 1);
            // What the caller sends.
            refused(client.echo(too_large.clone()).timeout(LIMIT).into_future()).await;
            refused(client.sum(stream::iter([too_large.clone()])).timeout(LIMIT).into_future()).await;
            refused(async {
                let items = stream::iter([item(7, 9), too_large]);
                let mut chat = client.chat(items).timeout(LIMIT).await?;
                while chat.message().await?.is_some() {}
                Ok(())
            })
            .await;
            // What the handler sends.
            let call = client.echo(Item::default()).header("grow", (LARGEST + 1).to_string());
            refused(call.timeout(LIMIT).into_future()).await;
            refused(async {
                let size = (LARGEST + 1) as u32;
                let request = CountRequest { to: 1, size, ..CountRequest::default() };
                let mut count = client.count(request).timeout(LIMIT).await?;
                while count.message().await?.is_some() {}
                Ok(())
            })
            .await;
            sender.send(item(number, 100_000)).await.unwrap();
            let answer = timeout(LIMIT, other.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(answer, item(number, 100_000));
        }
    }
}
