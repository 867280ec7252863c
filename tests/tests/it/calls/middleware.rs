//! Layers of clients and servers, from tower and from users.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nmfw::{
    Channel, Code, Deadline, NatsChannel as _, Server, Status,
    middleware::{self, Next, Request, Response},
};
use nmfw_tests::{
    TestBroker, on_both_brokers,
    puppet::{Blob, FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings},
};
use tower::{
    ServiceBuilder,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    load_shed::LoadShedLayer,
    timeout::TimeoutLayer,
};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);

async fn authenticate(mut request: Request, next: Next) -> Result<Response, Status> {
    let Some(token) = request.metadata().get("token") else {
        return Err(Status::unauthenticated("send a token"));
    };
    let user = token.to_uppercase();
    request.metadata_mut().insert("user", user)?;
    let mut response = next.run(request).await?;
    response.metadata_mut().insert("checked", "yes")?;
    Ok(response)
}

async fn send_token(mut request: Request, next: Next) -> Result<Response, Status> {
    request.metadata_mut().insert("token", "ann")?;
    next.run(request).await
}

/// Sheds load after the handler has run.
async fn too_late(request: Request, next: Next) -> Result<Response, Status> {
    next.run(request).await?;
    Err(Status::resource_exhausted("no room for the answer").not_started())
}

on_both_brokers! {
    /// A mark from a layer is removed, because a client would otherwise run the handler again.
    async fn a_layer_cannot_mark_a_call_that_ran(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let strings = Strings::default();
        let service = || PuppetServer::new(strings.clone()).layer(middleware::from_fn(too_late));
        let _server = Server::new(nats.clone()).add_service(service()).start().await.unwrap();
        let channel = Channel::new(&nats);
        for client in [
            PuppetClient::new(channel.clone()),
            PuppetClient::new(channel.multiplexed()),
            PuppetClient::new(Channel::local(service())),
        ] {
            let before = strings.started();
            let status = client.sleep(SleepRequest::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(!status.is_not_started(), "{status}");
            assert_eq!(strings.started(), before + 1, "the call ran twice");
        }
    }

    async fn a_check_on_the_server_and_what_passes_it_on_the_client(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let strings = Strings::default();
        let _server = Server::new(nats.clone())
            .add_service(PuppetServer::new(strings.clone()))
            .layer(middleware::from_fn(authenticate))
            .start()
            .await
            .unwrap();
        let client = PuppetClient::new(&nats);
        let status = client.inspect(()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(strings.started(), 0);

        let client = PuppetClient::new(Channel::new(nats).layer(middleware::from_fn(send_token)));
        let (seen, metadata) = client.inspect(()).send_with_metadata().await.unwrap();
        assert_eq!(seen.metadata["user"], "ANN");
        assert_eq!(metadata.get("checked"), Some("yes"));
    }

    async fn towers_layers_on_the_server(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let strings = Strings::default();
        let _server = Server::new(nats.clone())
            .add_service(
                PuppetServer::new(strings.clone())
                    .layer(TimeoutLayer::new(SHORT))
                    .layer(ServiceBuilder::new()
                        .layer(LoadShedLayer::new())
                        .layer(ConcurrencyLimitLayer::new(1))
                        .into_inner()),
            )
            .start()
            .await
            .unwrap();
        let client = PuppetClient::new(Channel::new(nats).max_attempts(1));
        let slow = tokio::spawn(client.sleep(SleepRequest { millis: 60_000 }).send());
        nmfw_tests::eventually(LONG, || async { strings.started() == 1 }).await;
        // Refused while the only place is taken, which lasts until the timeout.
        let status = client.echo(Blob::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.is_not_started());
        let status = slow.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        client.echo(Blob::default()).await.unwrap();
    }

    async fn towers_layers_on_the_client(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let strings = Strings::default();
        let _server = Server::new(nats.clone())
            .add_service(PuppetServer::new(strings.clone()))
            .start()
            .await
            .unwrap();
        let timeout = Channel::new(&nats).layer(TimeoutLayer::new(SHORT));
        let call = PuppetClient::new(timeout).sleep(SleepRequest { millis: 60_000 });
        let status = call.timeout(LONG).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");

        // A rate limit is not `Clone`, but a buffer around it is. It delays the second call, and
        // the call's deadline applies meanwhile.
        let limited = Channel::new(&nats).layer(
            ServiceBuilder::new()
                .buffer(8)
                .layer(RateLimitLayer::new(1, LONG))
                .into_inner(),
        );
        let client = PuppetClient::new(limited);
        client.echo(Blob::default()).await.unwrap();
        let status = client.echo(Blob::default()).timeout(SHORT).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }

    async fn order_statuses_and_settings(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(nats.clone())
            .add_service(PuppetServer::new(Strings::default()).subject("elsewhere"))
            .start()
            .await
            .unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let count = |nth: usize| {
            let calls = Arc::clone(&calls);
            middleware::from_fn(move |request: Request, next: Next| {
                assert_eq!(calls.fetch_add(1, Ordering::SeqCst) % 2, nth);
                next.run(request)
            })
        };
        // The last layer sees the call first. Settings made after a layer apply too.
        let channel = Channel::new(nats).layer(count(1)).layer(count(0)).subject("elsewhere");
        let client = PuppetClient::new(channel);
        client.echo(Blob::default()).await.unwrap();
        let request = FailRequest { code: 9, message: "m".to_owned(), ..FailRequest::default() };
        let status = client.fail(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "m"));
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    async fn a_layer_can_shorten_the_time_and_panic(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let hurry = |mut request: Request, next: Next| async move {
            assert!(request.method().name() != "Panic", "as requested");
            request.limit_deadline(Deadline::after(Duration::from_secs(1)));
            next.run(request).await
        };
        let _server = Server::new(nats.clone())
            .add_service(PuppetServer::new(Strings::default()).layer(middleware::from_fn(hurry)))
            .start()
            .await
            .unwrap();
        let client = PuppetClient::new(nats);
        let seen = client.inspect(()).timeout(LONG).await.unwrap();
        assert!(seen.time_left_millis.unwrap() <= 1000);
        let status = client.panic(()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
    }
}
