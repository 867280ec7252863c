//! Metadata on all paths of a call: its order, and its limits.

use nmfw::{Code, Metadata, Server};
use nmfw_tests::{
    TestBroker,
    mirror::{self, Client, FAIL, MANY, SPEC},
    on_both_brokers,
};

/// Keys that differ only in case, with others between them.
fn mixed() -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in [
        ("Tag", "1"),
        ("zone", "z"),
        ("tag", "2"),
        ("TAG", "3"),
        ("a", "first"),
        ("Tag", "4"),
        ("a", "second"),
        ("tAg", "5"),
        ("tag", "6"),
    ] {
        metadata.append(key, value).unwrap();
    }
    metadata.append_bin("Raw-Bin", vec![0, 1]).unwrap();
    metadata.append("b", "ä").unwrap();
    metadata.append_bin("raw-bin", vec![2]).unwrap();
    metadata
}

fn of(count: usize) -> Metadata {
    let mut metadata = Metadata::new();
    for i in 0..count {
        // Merging does not count against the limit.
        let mut one = Metadata::new();
        one.append(format!("k{i}"), "v").unwrap();
        metadata.merge(&one);
    }
    metadata
}

on_both_brokers! {
    async fn its_order_is_kept_both_ways(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(&nats).add_service(mirror::service(&SPEC));
        let _running = server.start().await.unwrap();
        let sent = mixed();
        for (way, client) in Client::all(&nats, &SPEC).await.unwrap() {
            // A hash map would keep the order by chance in some runs.
            for _ in 0..20 {
                let call = client.echo("x").merge_metadata(&sent).send_with_metadata();
                let (_, got) = call.await.unwrap();
                assert_eq!(got, sent, "{way}");
                let tags: Vec<_> = got.get_all("tag").collect();
                assert_eq!(tags, ["1", "2", "3", "4", "5", "6"], "{way}");
                let status = client.echo(FAIL).merge_metadata(&sent).await.unwrap_err();
                assert_eq!(status.code(), Code::Aborted, "{way}");
                assert_eq!(status.metadata(), &sent, "{way}");
            }
            let (ahead, trailers) = client.count("x", &sent).await.unwrap();
            assert_eq!((&ahead, &trailers), (&sent, &sent), "{way}");
        }
    }

    async fn as_much_as_is_taken_and_no_more(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(&nats).add_service(mirror::service(&SPEC));
        let _running = server.start().await.unwrap();
        for (way, client) in Client::all(&nats, &SPEC).await.unwrap() {
            let call = client.echo("x").merge_metadata(&of(256)).send_with_metadata();
            assert_eq!(call.await.unwrap().1, of(256), "{way}");
            let status = client.echo(FAIL).merge_metadata(&of(256)).await.unwrap_err();
            assert_eq!(status.metadata().len(), 256, "{way}");

            let status = client.echo("x").merge_metadata(&of(257)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{way}: {status}");
            assert!(status.message().contains("limit of 256 values"), "{way}: {status}");
            let status = client.count("x", &of(257)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{way}: {status}");

            let many = format!("{MANY}257");
            let status = client.echo(&many).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{way}: {status}");
            assert!(status.message().contains("limit of 256 values"), "{way}: {status}");
            let status = client.count(&many, &Metadata::new()).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{way}: {status}");
            assert!(status.message().contains("limit of 256 values"), "{way}: {status}");
        }
    }
}
