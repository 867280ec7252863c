//! The generated code works with `nmfw-core` alone: implemented, served and called in this process.

use futures_util::{StreamExt, TryStreamExt, stream};
use nmfw_contract::nmfw::streams::{
    CountRequest, FILE_DESCRIPTOR_SET, Item, STREAMS_SPEC, Streams, StreamsClient, StreamsServer,
    Total,
};
use rpc::{
    Channel, Code, Context, Method, Result, ServiceSpec, Status, Stream, Streaming,
    prost::Message as _, prost_types::FileDescriptorSet,
};

struct Numbers;

fn item(number: u64) -> Item {
    Item {
        number,
        ..Item::default()
    }
}

impl Streams for Numbers {
    async fn echo(&self, _: Context, request: Item) -> Result<Item> {
        Ok(request)
    }

    async fn count(
        &self,
        _: Context,
        request: CountRequest,
    ) -> Result<impl Stream<Item = Result<Item>> + Send + 'static> {
        Ok(stream::iter(request.from..request.to).map(|number| Ok(item(number))))
    }

    async fn sum(&self, _: Context, mut requests: Streaming<Item>) -> Result<Total> {
        let mut total = Total::default();
        while let Some(item) = requests.message().await? {
            total.count += 1;
            total.sum += item.number;
        }
        Ok(total)
    }

    async fn chat(
        &self,
        _: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item>> + Send + 'static> {
        Ok(requests)
    }
}

#[tokio::test]
async fn all_kinds_of_methods_are_called() -> Result<(), Status> {
    let client = StreamsClient::local(Numbers);
    assert_eq!(client.echo(item(7)).await?, item(7));
    let counted = client.count(CountRequest {
        from: 1,
        to: 4,
        ..CountRequest::default()
    });
    let numbers = counted.await?.map(|item| item.map(|item| item.number));
    assert_eq!(numbers.try_collect::<Vec<_>>().await?, [1, 2, 3]);
    let items = || stream::iter([item(1), item(2)]);
    assert_eq!(client.sum(items()).await?.sum, 3);
    let chat = client.chat(items()).await?;
    assert_eq!(chat.try_collect::<Vec<_>>().await?, [item(1), item(2)]);
    Ok(())
}

#[tokio::test]
async fn methods_are_named_by_constants() {
    assert_eq!(StreamsServer::SUM.full_name(), "nmfw.streams.Streams.Sum");
    let names: Vec<_> = STREAMS_SPEC.methods().map(Method::name).collect();
    assert_eq!(names, ["Echo", "Count", "Sum", "Chat"]);
    // A client of the trait, on a channel to a service that serves one method.
    let service = StreamsServer::new(Numbers).only([StreamsServer::SUM]);
    let client = StreamsClient::new(Channel::local(service));
    let total = client.sum(stream::iter([item(1), item(2)])).await;
    assert_eq!(total.map(|total| total.sum).ok(), Some(3));
    let status = Streams::echo(&client, Context::default(), item(1)).await;
    assert!(status.is_err_and(|status| status.is_not_started()));
}

struct Stubs;

impl Streams for Stubs {}

#[tokio::test]
async fn a_method_without_an_implementation_is_unimplemented() {
    let client = StreamsClient::local(Stubs);
    let unary = client.echo(item(1)).await.map(drop);
    let stream = client.count(CountRequest::default()).await.map(drop);
    let requests = client.sum(stream::iter([item(1)])).await.map(drop);
    for outcome in [unary, stream, requests] {
        assert_eq!(outcome.unwrap_err().code(), Code::Unimplemented);
    }
}

#[test]
fn the_descriptors_are_a_constant() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let spec = ServiceSpec::from_descriptors(&set, "nmfw.streams.Streams").unwrap();
    let names = |spec: &'static ServiceSpec| spec.methods().map(Method::name).collect::<Vec<_>>();
    assert_eq!(names(spec), names(&STREAMS_SPEC));
}
