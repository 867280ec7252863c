//! Messages far over the broker's `max_payload`, up to the limit of sessions and beyond.

use std::time::{Duration, Instant};

use futures_util::stream;
use nmfw::{Channel, Code, NatsChannel as _, Status, Streaming};
use nmfw_tests::{
    TestBroker,
    broker::Options,
    eventually, on_both_brokers,
    streams::{self, CountRequest, Flows, Item, StreamsClient, item},
};
use tokio::{task::JoinSet, time::timeout};

const LIMIT: Duration = Duration::from_secs(50);

/// Limit for immediate answers, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Calls that wait for a stream's reader would last as long as the stream.
const PROMPT: Duration = Duration::from_secs(15);

const MAX_PAYLOAD: usize = 64 * 1024;

/// The padding of the largest item: its tag and length take five bytes.
const LARGEST: usize = (16 << 20) - 5;

/// Creates an item of padding, with a period that differs from the size of packets.
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

/// Size of the items of unread streams, each of which fits into a window.
const UNREAD: u32 = 200 * 1024;

/// One stream, and more streams than may keep their received messages before others wait for them.
const UNREAD_STREAMS: [usize; 2] = [1, 24];

/// More than the brokers' `max_payload`, and than a window.
const OVER: usize = 2 << 20;

/// Creates clients with the default settings, and multiplexed.
async fn clients(broker: &TestBroker) -> [StreamsClient; 2] {
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let channel = Channel::new(nats);
    [channel.clone(), channel.multiplexed()].map(StreamsClient::new)
}

/// Makes concurrent calls with large requests and large answers, which all succeed in time.
async fn large_calls(client: &StreamsClient) {
    // The first large answer in base mode only makes the client use a session for the next.
    _ = client
        .echo(Item::default())
        .metadata("grow", OVER.to_string())
        .await;
    for _ in 0..3 {
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let both = client.echo(of_size(OVER));
            let answer = client
                .echo(Item::default())
                .metadata("grow", OVER.to_string());
            calls.spawn(both.timeout(LIMIT).send());
            calls.spawn(answer.timeout(LIMIT).send());
        }
        let begin = Instant::now();
        for answer in calls.join_all().await {
            assert_eq!(answer.unwrap().padding.len(), OVER);
        }
        assert!(
            begin.elapsed() < PROMPT,
            "the calls took {:?}",
            begin.elapsed()
        );
    }
}

/// Checks the outcome of a call with a message that is too large.
async fn refused<T>(call: impl Future<Output = Result<T, Status>>) {
    let begin = Instant::now();
    let status = timeout(LIMIT, call).await.unwrap().err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(
        begin.elapsed() < SOON,
        "the calls took {:?}",
        begin.elapsed()
    );
}

on_both_brokers! {
    async fn the_largest_message_goes_both_ways(broker: TestBroker) {
        let (_broker, _running, client) = start(&broker).await;
        let largest = of_size(LARGEST);
        let echo = client.echo(largest.clone()).timeout(LIMIT).await.unwrap();
        assert!(echo == largest, "the message was changed in transit");
        drop(echo);
        // Between small ones, in order.
        let items = [item(1, 9), largest.clone(), item(2, 9)];
        let mut chat = client.chat(stream::iter(items)).timeout(LIMIT).await.unwrap();
        assert_eq!(chat.message().await.unwrap().unwrap().number, 1);
        assert!(chat.message().await.unwrap().unwrap() == largest, "the message was changed in transit");
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

    /// A message over the limit ends its call, without further effects on the session.
    async fn a_byte_more_is_refused_at_once(broker: TestBroker) {
        let (_broker, _running, client) = start(&broker).await;
        // In flight all the time.
        let (sender, receiver) = Streaming::channel(1);
        let mut other = client.chat(receiver).await.unwrap();
        for number in 1..=2 {
            let too_large = of_size(LARGEST + 1);
            // Sent by the caller.
            refused(client.echo(too_large.clone()).timeout(LIMIT).send()).await;
            refused(client.sum(stream::iter([too_large.clone()])).timeout(LIMIT).send()).await;
            refused(async {
                let items = stream::iter([item(7, 9), too_large]);
                let mut chat = client.chat(items).timeout(LIMIT).await?;
                while chat.message().await?.is_some() {}
                Ok(())
            })
            .await;
            // Sent by the handler.
            let call = client.echo(Item::default()).metadata("grow", (LARGEST + 1).to_string());
            refused(call.timeout(LIMIT).send()).await;
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

    async fn large_answers_do_not_wait_for_streams_that_are_not_read(broker: TestBroker) {
        let _running = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        for unread in UNREAD_STREAMS {
            for client in clients(&broker).await {
                let mut counts = Vec::new();
                for _ in 0..unread {
                    let request = CountRequest { to: u64::MAX, size: UNREAD, ..CountRequest::default() };
                    let mut count = client.count(request).timeout(LIMIT).await.unwrap();
                    count.message().await.unwrap();
                    counts.push(count);
                }
                large_calls(&client).await;
                // The messages of the streams are still there.
                for count in &mut counts {
                    assert_eq!(count.message().await.unwrap().unwrap().number, 1);
                }
            }
        }
    }

    async fn large_requests_do_not_wait_for_a_slow_handler(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        for unread in UNREAD_STREAMS {
            for client in clients(&broker).await {
                let started = flows.started();
                let mut slow = JoinSet::new();
                for _ in 0..unread {
                    let items = streams::items(0, u64::MAX, UNREAD);
                    // The handler reads one item, and then none for longer than the test.
                    let call = client.sum(items).metadata("pause-micros", "100000000");
                    slow.spawn(call.timeout(LIMIT * 2).send());
                }
                eventually(LIMIT, || async { flows.started() == started + unread as u64 }).await;
                large_calls(&client).await;
                slow.shutdown().await;
            }
        }
    }
}
