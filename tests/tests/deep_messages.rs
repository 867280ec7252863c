//! Messages nested deeper than rustc's default recursion limit, with the attribute that raises it.

#![recursion_limit = "512"]

use nmfw::{Context, Status};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated, for libraries too"
)]
mod deep {
    include!(concat!(env!("OUT_DIR"), "/deep/deep.rs"));
}

struct Handler;

impl deep::Deep for Handler {
    async fn get(&self, _: Context, request: deep::Chain0) -> Result<deep::Ring0, Status> {
        let next = request.next.map(|_| deep::Ring1::default());
        Ok(deep::Ring0 {
            next: next.into_iter().collect(),
        })
    }
}

#[tokio::test]
async fn messages_that_nest_deeply_can_be_sent() {
    let client = deep::DeepClient::local(Handler);
    let request = deep::Chain0 {
        next: Some(deep::Chain1::default()),
    };
    assert_eq!(client.get(request).await.unwrap().next.len(), 1);
}
