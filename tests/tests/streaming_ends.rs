//! How streams end whose callers and handlers do not do what is usual.

#![allow(clippy::unwrap_used, reason = "a test")]

use futures_util::stream;
use nmfw::{Code, Status};
use nmfw_tests::{
    TestBroker, on_both_brokers,
    streams::{self, Flows, item},
};

on_both_brokers! {
    /// A caller that passes on what another call ended with, before any handler saw that one.
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
        // Nor has a handler taken what came before for all.
        assert_eq!(flows.finished(), 0);
    }
}
