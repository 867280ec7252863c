//! Ends of streams with unusual callers and handlers.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use nmfw::{Code, Context, Server, Status, Stream, Streaming, server::Running};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    streams::{
        self, CountRequest, Flows, Item, Streams, StreamsClient, StreamsServer, Total, item,
    },
};
use tokio::{sync::mpsc, time::timeout};

const LIMIT: Duration = Duration::from_secs(20);

/// Handlers that pass their requests to other tasks, or leave them unread.
struct Careless(mpsc::UnboundedSender<Result<Total, Status>>);

impl Careless {
    fn leave(&self, requests: Streaming<Item>) {
        let outcomes = self.0.clone();
        tokio::spawn(async move { outcomes.send(Total::of(requests).await) });
    }
}

impl Streams for Careless {
    async fn echo(&self, _: Context, request: Item) -> Result<Item, Status> {
        Ok(request)
    }

    async fn count(
        &self,
        _: Context,
        _: CountRequest,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        Ok(stream::empty())
    }

    /// Answers before its task has all requests.
    async fn sum(&self, _: Context, requests: Streaming<Item>) -> Result<Total, Status> {
        self.leave(requests);
        Ok(Total::default())
    }

    /// Answers before its task has all requests. With `drop-after-millis`, it ignores its requests,
    /// then drops them, and continues.
    async fn chat(
        &self,
        ctx: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        let Some(after) = ctx.metadata().get("drop-after-millis") else {
            self.leave(requests);
            return Ok(stream::iter([Ok(item(0, 0))]).boxed());
        };
        let after = Duration::from_millis(after.parse().unwrap());
        tokio::time::sleep(after).await;
        drop(requests);
        Ok(stream::pending().boxed())
    }
}

async fn careless(
    url: &str,
) -> (
    Running,
    StreamsClient,
    mpsc::UnboundedReceiver<Result<Total, Status>>,
) {
    let (sender, outcomes) = mpsc::unbounded_channel();
    let nats = nmfw::connect(url).await.unwrap();
    let server = Server::new(nats).add_service(StreamsServer::new(Careless(sender)));
    let client = streams::client(url).await.unwrap();
    (server.start().await.unwrap(), client, outcomes)
}

on_both_brokers! {
    /// A caller that passes on the error of another call, before any handler saw that call.
    async fn an_error_of_the_caller_is_the_end_whatever_its_mark(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let upstream = Status::unavailable("upstream is gone").not_started();
        let broken = stream::iter([Ok(item(1, 0)), Err(upstream)]);
        let status = client.sum(broken).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "upstream is gone")
        );
        assert!(!status.is_not_started());
        // No handler has mistaken the earlier messages for all of them.
        assert_eq!(flows.finished(), 0);
    }

    /// A task that reads requests left behind by a handler does not wait forever, nor mistakes the
    /// received messages for all of them.
    async fn requests_that_outlive_their_handler_end_with_an_error(broker: TestBroker) {
        let (_running, client, mut outcomes) = careless(&broker.url()).await;
        let mut outcome = async || timeout(LIMIT, outcomes.recv()).await.unwrap().unwrap();

        let (sender, requests) = Streaming::<Item>::channel(1);
        let chat = client.chat(requests).await.unwrap();
        assert_eq!(chat.try_collect::<Vec<_>>().await.unwrap().len(), 1);
        assert_eq!(outcome().await.unwrap_err().code(), Code::Cancelled);
        drop(sender);

        let (sender, requests) = Streaming::<Item>::channel(1);
        client.sum(requests).await.unwrap();
        assert_eq!(outcome().await.unwrap_err().code(), Code::Cancelled);
        drop(sender);
    }

    /// Large messages are received one after the other. A dropped one does not delay others.
    async fn a_large_message_that_is_dropped_makes_room_for_others(broker: TestBroker) {
        const LARGE: u32 = 3 << 20;
        let (_running, client, _outcomes) = careless(&broker.url()).await;
        let call = client.chat(stream::iter([item(1, LARGE)]));
        let _chat = call.metadata("drop-after-millis", "500").await.unwrap();
        let call = client.echo(item(2, LARGE)).timeout(LIMIT);
        assert_eq!(call.await.unwrap().padding.len(), LARGE as usize);
    }

    /// No side reads, so that all traffic has stopped when the deadline passes.
    async fn deadlines_hold_while_streams_are_held_back(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let limit = Duration::from_millis(500);

        let request = CountRequest {
            to: u64::MAX,
            size: 1000,
            ..CountRequest::default()
        };
        let mut count = client.count(request).timeout(limit).await.unwrap();
        eventually(LIMIT, || async { flows.dropped() == 1 }).await;
        let status = loop {
            match count.message().await {
                Ok(message) => assert!(message.is_some(), "the end"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded);

        let (sender, requests) = Streaming::channel(1);
        let chat = client.chat(requests).timeout(limit);
        let _chat = chat.await.unwrap();
        let all = async { while sender.send(item(1, 1000)).await.is_ok() {} };
        timeout(LIMIT, all).await.unwrap();
        eventually(LIMIT, || async { flows.dropped() == 2 }).await;
    }

    /// The tasks of a client run in the runtime of its connection, and end with it.
    async fn streams_end_with_the_runtime_of_their_connection(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let url = broker.url();
        let begun = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let request = CountRequest {
                    hang: true,
                    ..CountRequest::default()
                };
                streams::client(&url).await.unwrap().count(request).await
            })
        });
        let mut count = begun.join().unwrap().unwrap();
        let status = timeout(LIMIT, count.message()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    /// The calls are made on other runtimes, as in tests that share a client.
    async fn streams_and_calls_outlive_the_runtime_of_the_first_call(broker: TestBroker) {
        let flows = Flows::default();
        let _running = streams::serve(&broker.url(), &flows).await.unwrap();
        let client = streams::client(&broker.url()).await.unwrap();
        let request = CountRequest {
            to: 100,
            pause_micros: 5000,
            ..CountRequest::default()
        };
        let other = client.clone();
        let begun = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(other.count(request).send())
        });
        let count = begun.join().unwrap().unwrap();
        let all = timeout(LIMIT, count.try_collect::<Vec<_>>()).await.unwrap();
        assert_eq!(all.unwrap().len(), 100);
        let call = client.sum(stream::iter([item(1, 0)])).timeout(LIMIT);
        assert_eq!(call.await.unwrap().count, 1);
        assert_eq!(client.echo(item(2, 0)).await.unwrap().number, 2);
    }
}
