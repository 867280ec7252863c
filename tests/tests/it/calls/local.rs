//! Clients of a service in the same process, without NATS.

use std::time::Duration;

use nmfw::{Channel, Code, NatsChannel as _};
use nmfw_tests::{
    eventually,
    puppet::{Blob, FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings},
};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn answers_errors_and_metadata() {
    let client = PuppetClient::local(Strings::default());
    client.wait_ready(Duration::ZERO).await.unwrap();
    let blob = Blob { data: vec![1] };
    assert_eq!(client.echo(blob.clone()).await.unwrap(), blob);
    let call = client.inspect(()).metadata("a", "b");
    let (seen, metadata) = call.send_with_metadata().await.unwrap();
    assert_eq!(seen.metadata["a"], "b");
    assert_eq!(metadata.get("inspected-by"), Some("puppet"));
    assert!(seen.time_left_millis.is_some());
    assert_eq!((seen.subject.as_str(), seen.reply.as_str()), ("", ""));

    let status = client.panic(()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let request = FailRequest {
        code: 5,
        ..FailRequest::default()
    };
    let status = client.fail(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.metadata().get("failed-by"), Some("puppet"));
}

#[tokio::test]
async fn deadlines_and_dropped_calls_drop_the_handler() {
    let strings = Strings::default();
    let client = PuppetClient::local(strings.clone());
    let request = SleepRequest { millis: 60_000 };
    let call = client.sleep(request).timeout(Duration::from_millis(20));
    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(strings.dropped(), 1);

    let call = tokio::spawn(client.sleep(request).send());
    eventually(LIMIT, || async { strings.started() == 2 }).await;
    call.abort();
    eventually(LIMIT, || async { strings.dropped() == 2 }).await;
}

#[tokio::test]
async fn limits_hold() {
    let strings = Strings::default();
    let service = PuppetServer::new(strings.clone()).concurrency(1).queue(0);
    let client = PuppetClient::new(Channel::local(service));
    let running = tokio::spawn(client.sleep(SleepRequest { millis: 200 }).send());
    eventually(LIMIT, || async { strings.started() == 1 }).await;
    let status = client.sleep(SleepRequest { millis: 1 }).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
    running.await.unwrap().unwrap();

    let client = PuppetClient::new(Channel::local(
        PuppetServer::new(strings.clone()).only(["Echo"]),
    ));
    client.echo(Blob::default()).await.unwrap();
    let status = client.inspect(()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn wrong_settings_are_a_status() {
    let service = PuppetServer::new(Strings::default()).only(["Ecoh"]);
    let client = PuppetClient::new(Channel::local(service));
    let status = client.echo(Blob::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("Ecoh"), "{status}");
    assert!(status.message().contains("Echo, Sleep"), "{status}");
    client.wait_ready(Duration::ZERO).await.unwrap_err();
}

/// Settings that the transport of a channel does not support are errors.
#[tokio::test]
async fn settings_for_nats_are_refused() {
    let channel = || Channel::local(PuppetServer::new(Strings::default()));
    for (setting, channel) in [
        ("subject", channel().subject("elsewhere")),
        ("max_attempts", channel().max_attempts(1)),
        ("reconnect_grace", channel().reconnect_grace(Duration::ZERO)),
        ("multiplexed", channel().multiplexed()),
        ("go_compatible", channel().go_compatible()),
    ] {
        let client = PuppetClient::new(channel.metadata("tenant", "acme"));
        let status = client.inspect(()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{setting}");
        assert!(status.is_not_started(), "{setting}");
        assert!(status.message().contains(setting), "{status}");
    }
    let client = PuppetClient::new(channel().metadata("tenant", "acme"));
    let seen = client.inspect(()).await.unwrap();
    assert_eq!(seen.metadata["tenant"], "acme");
    assert_eq!(seen.subject, "");
}
