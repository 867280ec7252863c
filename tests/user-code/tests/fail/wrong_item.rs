use futures_util::stream;
use nmfw::{Context, Status, Stream, Streaming};
use nmfw_user_code::streams::{CountRequest, Item, Streams, Total};

struct Handler;

impl Streams for Handler {
    async fn echo(&self, _ctx: Context, request: Item) -> Result<Item, Status> {
        Ok(request)
    }

    async fn count(
        &self,
        _ctx: Context,
        _request: CountRequest,
    ) -> Result<impl Stream<Item = Result<Total, Status>> + Send + 'static, Status> {
        Ok(stream::empty())
    }

    async fn sum(&self, _ctx: Context, _requests: Streaming<Item>) -> Result<Total, Status> {
        Ok(Total::default())
    }

    async fn chat(
        &self,
        _ctx: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        Ok(requests)
    }
}

fn main() {}
