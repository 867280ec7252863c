//! Go nmfw's example calculator, built from source: its client with this service, and this client
//! with its service. The tests of both wire formats are in `go_nmfw_wire.rs`, which needs no Go.

use std::time::Duration;

use nmfw::{Channel, Code, NatsChannel as _};
use nmfw_tests::broker::{Kind, TEST_LIMIT, TestBroker, run};
use nmfw_tests::calc::{
    self, AddRequest, AverageRequest, CalcClient, CalcResponse, ExpressionRequest,
};
use nmfw_tests::eventually;
use nmfw_tests::foreign::{GoNmfw, Output, go_nmfw, or_not_run};
use nmfw_tests::puppet::Blob;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(15);

/// Runs the body on both brokers, if the programs are installed.
async fn with_go<Fut: Future<Output = ()>>(name: &str, body: impl Fn(TestBroker, GoNmfw) -> Fut) {
    let Some(go) = or_not_run(name, go_nmfw()) else {
        return;
    };
    for kind in Kind::BOTH {
        run(name, kind, TEST_LIMIT, |broker| body(broker, go.clone())).await;
    }
}

async fn printed(go: &GoNmfw, url: &str, args: &[&str]) -> String {
    let output = go.call(url, args).await.unwrap().success().unwrap();
    output.stdout.trim_end().to_owned()
}

#[track_caller]
fn assert_fails(output: &Output, shown: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains(shown), "{shown:?} in {output:?}");
}

fn add(values: impl Into<Vec<f32>>) -> AddRequest {
    AddRequest {
        values: values.into(),
    }
}

fn expression(text: &str) -> ExpressionRequest {
    ExpressionRequest {
        expression: text.to_owned(),
    }
}

/// Returns the number of requests to `Add` of one instance, which STATS shows under both names.
async fn added(client: &async_nats::Client, id: &str) -> u64 {
    let subject = format!("$SRV.STATS.calc.{id}");
    let answer = client.request(subject, "".into()).await.unwrap();
    let stats: Value = serde_json::from_slice(&answer.payload).unwrap();
    let endpoints = stats["endpoints"].as_array().unwrap();
    let add = endpoints
        .iter()
        .find(|endpoint| endpoint["name"] == "Add")
        .unwrap();
    add["num_requests"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_client_calls_our_service() {
    with_go("its_client_calls_our_service", |broker, go| async move {
        let url = broker.url();
        assert_fails(
            &go.call(&url, &["add", "1"]).await.unwrap(),
            "no responders available",
        );

        let service = calc::serve(&url).await.unwrap();
        assert_eq!(printed(&go, &url, &["add", "1", "2", "3"]).await, "6");
        assert_eq!(
            printed(&go, &url, &["average", "1.1", "2", "3.5"]).await,
            "2.2"
        );
        assert_eq!(printed(&go, &url, &["expr", "2*(3+4)"]).await, "14");
        assert_eq!(printed(&go, &url, &["add"]).await, "0");
        // The deadlines of the Go client are truncated to the second: make several calls, at
        // different parts of a second.
        for _ in 0..4 {
            let args = ["--timeout", "900ms", "add", "1", "2"];
            assert_eq!(printed(&go, &url, &args).await, "3");
        }
        let output = go.call(&url, &["expr", "ä ?"]).await.unwrap();
        assert_fails(&output, "cannot calculate ä ?");

        service.stop();
        service.join().await.unwrap();
        assert_fails(
            &go.call(&url, &["add", "1"]).await.unwrap(),
            "no responders available",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_calls_its_service() {
    with_go("our_client_calls_its_service", |broker, go| async move {
        let url = broker.url();
        let service = go.serve(&url).await.unwrap();
        let nats = nmfw::connect(&url).await.unwrap();
        for channel in [Channel::from(&nats), Channel::from(&nats).go_compatible()] {
            let client = CalcClient::new(&channel);
            client.wait_ready(LIMIT).await.unwrap();
            assert_eq!(client.add(add([1.0, 2.0, 3.0])).await.unwrap().result, 6.0);
            let values = vec![1.1, 2.0, 3.5];
            let average = client.average(AverageRequest { values }).await.unwrap();
            assert!((average.result - 2.2).abs() < 1e-6, "{average:?}");
            assert_eq!(
                client
                    .expression(expression("2*(3+4)"))
                    .await
                    .unwrap()
                    .result,
                14.0
            );

            let status = client.expression(expression("\"text\"")).await.unwrap_err();
            assert_eq!(status.code(), Code::Unknown, "{status}");
            assert!(
                status
                    .message()
                    .contains("unsupported expression result type"),
                "{status}"
            );

            // Field 1 is present, but its three bytes are not a list of floats.
            let blob = Blob {
                data: b"abc".to_vec(),
            };
            let client = nmfw::codegen::v1::Client::new(&channel);
            let call = client.unary::<_, CalcResponse>(CalcClient::ADD, blob);
            let status = call.await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(!status.message().is_empty());
        }
        // The Go service logs the calling client, if it is known.
        let log = service.log();
        assert!(
            log.contains("0.1.0"),
            "no client version in its log:\n{log}"
        );

        service.stop().await.unwrap();
        let status = CalcClient::new(&nats).add(add([1.0])).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    })
    .await;
}

/// During a migration, an installation has both for a while.
#[tokio::test(flavor = "multi_thread")]
async fn both_services_share_the_requests() {
    with_go(
        "both_services_share_the_requests",
        |broker, go| async move {
            let url = broker.url();
            let theirs = go.serve(&url).await.unwrap();
            let ours = calc::serve(&url).await.unwrap();
            let our_id = ours.services()[0].id.clone();
            let plain = async_nats::connect(&url).await.unwrap();
            // The answer of this service can come first: repeat until the other one answers.
            let their_id = eventually(LIMIT, || async {
                let answer = plain.request("$SRV.PING.calc", "".into()).await.ok()?;
                let ping: Value = serde_json::from_slice(&answer.payload).ok()?;
                let id = ping["id"].as_str()?.to_owned();
                (id != our_id).then_some(id)
            })
            .await;

            let client = calc::client(&url).await.unwrap();
            let mut calls = 0;
            loop {
                assert_eq!(client.add(add([1.0, 2.0, 3.0])).await.unwrap().result, 6.0);
                calls += 1;
                let (by_us, by_them) =
                    (added(&plain, &our_id).await, added(&plain, &their_id).await);
                assert_eq!(
                    by_us + by_them,
                    calls,
                    "{by_us} by this service, {by_them} by Go"
                );
                if by_us > 0 && by_them > 0 {
                    break;
                }
                assert!(
                    calls < 200,
                    "{by_us} by this service, {by_them} by Go: one of them receives no requests"
                );
            }
            assert_eq!(printed(&go, &url, &["add", "1", "2", "3"]).await, "6");

            // Either can be stopped.
            ours.stop();
            ours.join().await.unwrap();
            assert_eq!(client.add(add([1.0])).await.unwrap().result, 1.0);
            let ours = calc::serve(&url).await.unwrap();
            theirs.stop().await.unwrap();
            assert_eq!(client.add(add([2.0])).await.unwrap().result, 2.0);
            assert_eq!(added(&plain, &ours.services()[0].id).await, 1);
        },
    )
    .await;
}
