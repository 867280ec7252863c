//! Limits of the NATS server and of its accounts: exceeding one is soon an error with the server's
//! own words. Uses nats-server, because the embedded broker has no limits.

use nmfw::async_nats::ConnectionExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nmfw::server::{Running, Serving};
use nmfw::{
    Channel, Code, ConnectOptions, Connection, ErrorKind, NatsChannel as _, Server, Status,
};
use nmfw_tests::calc::{AddRequest, CalcClient, CalcServer, Calculator};
use nmfw_tests::puppet::{Blob, PuppetClient, PuppetServer, Strings};
use nmfw_tests::{NatsServer, Proxy, eventually};
use tokio::time::timeout;

/// Far below the timeouts of the calls here: a refusal must not look like a timeout.
const LIMIT: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(50);

const TOO_MANY_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";

/// The number of subscriptions of a service with three methods.
const SUBSCRIPTIONS: usize = 21;

fn options() -> ConnectOptions {
    ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20))
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    let url = format!("nats://{user}:x@127.0.0.1:{}", server.port());
    options().connect(url).await.unwrap()
}

/// Starts a server with an account for each limit, each with a user of the same name.
async fn accounts(limits: impl IntoIterator<Item = (String, String)>) -> NatsServer {
    let accounts = limits.into_iter().map(|(name, limits)| {
        format!("{name}: {{ users: [{{ user: {name}, password: x }}], limits: {{ {limits} }} }}\n")
    });
    let config = format!("accounts {{ {} }}", accounts.collect::<String>());
    NatsServer::builder().config(config).start().await.unwrap()
}

async fn account(limits: &str) -> NatsServer {
    accounts([("a".to_owned(), limits.to_owned())]).await
}

async fn try_serve(nats: Connection) -> Result<Running, nmfw::Error> {
    let server = Server::new(nats).add_service(CalcServer::new(Calculator));
    timeout(LIMIT, server.start())
        .await
        .expect("starting hangs")
}

async fn puppet(nats: Connection) -> Running {
    let server = Server::new(nats).add_service(PuppetServer::new(Strings::default()));
    server.start().await.unwrap()
}

fn numbers() -> AddRequest {
    AddRequest {
        values: vec![1.0, 2.0],
    }
}

/// Checks that it fails soon, with the server's words.
async fn refused<T: std::fmt::Debug>(
    call: impl Future<Output = Result<T, Status>>,
    words: &str,
) -> Status {
    let status = timeout(LIMIT, call)
        .await
        .expect("a refused call hangs")
        .unwrap_err();
    assert!(status.message().contains(words), "{words} in {status}");
    status
}

/// The start fails whichever subscription exceeds the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_all_its_subscriptions_does_not_start() {
    let limits = (1..=SUBSCRIPTIONS).map(|n| (format!("a{n}"), format!("max_subscriptions: {n}")));
    let server = accounts(limits).await;
    for n in 1..SUBSCRIPTIONS {
        let nats = connect(&server, &format!("a{n}")).await;
        let error = try_serve(nats.clone())
            .await
            .expect_err("the limit was not reached");
        assert_eq!(error.kind(), ErrorKind::Limit, "{n}: {error:?}");
        assert!(
            error.to_string().contains(TOO_MANY_SUBSCRIPTIONS),
            "{n}: {error}"
        );
        // The subscriptions were removed again.
        let only = CalcServer::new(Calculator).only(["Add"]);
        let fewer = Server::new(nats).add_service(only).start().await;
        assert_eq!(fewer.is_ok(), n + 2 >= SUBSCRIPTIONS, "{n}: {fewer:?}");
    }
    let nats = connect(&server, &format!("a{SUBSCRIPTIONS}")).await;
    let running = try_serve(nats).await.unwrap();
    assert_eq!(running.health().status, Serving::Serving);
    let caller = CalcClient::new(connect(&server, &format!("a{SUBSCRIPTIONS}")).await);
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
}

/// After a reconnect, all subscriptions are made again, and the new server may allow fewer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_a_subscription_ends() {
    for limit in [1, 8, SUBSCRIPTIONS - 1] {
        let mut server = NatsServer::start().await.unwrap();
        let running = try_serve(options().connect(server.url()).await.unwrap())
            .await
            .unwrap();
        let port = server.port();
        server.kill().unwrap();
        let _smaller = NatsServer::builder()
            .port(port)
            .config(format!("max_subscriptions: {limit}"))
            .start()
            .await
            .unwrap();
        let end = timeout(LIMIT, running.join()).await;
        let error = end
            .expect("the server continues without the subscription")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
        assert!(
            error.to_string().contains(TOO_MANY_SUBSCRIPTIONS),
            "{error}"
        );
    }
}

/// nats-server applies the limit when it restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_ends_a_server() {
    let mut server = NatsServer::start().await.unwrap();
    let running = try_serve(options().connect(server.url()).await.unwrap())
        .await
        .unwrap();
    server.configure("max_subscriptions: 5").unwrap();
    server.restart().await.unwrap();
    let ended = timeout(LIMIT, running.join()).await;
    let error = ended.expect("the server continues").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
}

/// The service left its queue groups because a check failed, and may not join them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_subscribe_again_ends() {
    let server = account(&format!("max_subscriptions: {SUBSCRIPTIONS}")).await;
    let nats = connect(&server, "a").await;
    let is_good = Arc::new(AtomicBool::new(true));
    let check = Arc::clone(&is_good);
    let running = Server::new(nats.clone())
        .add_service(CalcServer::new(Calculator))
        .health_interval(Duration::from_millis(20))
        .health_check("mood", move || {
            let is_good = check.load(Ordering::SeqCst);
            async move { is_good.then_some(()).ok_or("bad") }
        })
        .start()
        .await
        .unwrap();
    is_good.store(false, Ordering::SeqCst);
    let nobody = || async {
        let caller = CalcClient::new(connect(&server, "a").await);
        match caller.add(numbers()).await {
            Err(status) if status.message().contains("no responders") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually(LIMIT, nobody).await;
    let _taken = nats.client().subscribe("taken").await.unwrap();
    nats.flush_within(LIMIT).await.unwrap();
    is_good.store(true, Ordering::SeqCst);
    let end = timeout(LIMIT, running.join())
        .await
        .expect("the server continues");
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
}

/// A revoked login: the server reports it, and closes the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_login_is_reported() {
    const WORDS: &str = "Authorization Violation";
    let users = |password: &str| {
        format!("authorization {{ users: [{{ user: a, password: {password} }}] }}")
    };
    let server = NatsServer::builder().config(users("x")).start().await;
    let server = server.unwrap();
    let nats = connect(&server, "a").await;
    let running = try_serve(nats.clone()).await.unwrap();
    let caller = CalcClient::new(&nats);
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    server.reload(users("y")).await.unwrap();
    let told = || async {
        let health = format!("{:?}", running.health());
        health
            .to_lowercase()
            .contains(&WORDS.to_lowercase())
            .then_some(())
            .ok_or(health)
    };
    eventually(LIMIT, told).await;
    let status = caller.add(numbers()).timeout(NEVER).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let text = status.message().to_lowercase();
    assert!(text.contains(&WORDS.to_lowercase()), "{status}");
    // Restore the login.
    server.reload(users("x")).await.unwrap();
    let works = || caller.add(numbers()).timeout(LIMIT).send();
    eventually(LIMIT * 2, works).await;
    eventually(LIMIT, || async {
        running.health().status == Serving::Serving
    })
    .await;
}

/// Other subscriptions on its connection may be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_ignores_refusals_of_other_subscriptions() {
    let server = account(&format!("max_subscriptions: {SUBSCRIPTIONS}")).await;
    let nats = connect(&server, "a").await;
    let running = try_serve(nats.clone()).await.unwrap();
    let mut events = nats.events();
    // Takes the last subscription, which round trips would use.
    let _another = nats.client().subscribe("another").await.unwrap();
    let _one_more = nats.client().subscribe("one.more").await.unwrap();
    let refused = async {
        loop {
            let event = events.recv().await.unwrap();
            if let nmfw::ConnectionEvent::TooManySubscriptions { error, .. } = event {
                return error;
            }
        }
    };
    let words = timeout(LIMIT, refused).await.expect("no event arrived");
    assert_eq!(words, TOO_MANY_SUBSCRIPTIONS);
    let caller = CalcClient::new(connect(&server, "a").await);
    for _ in 0..10 {
        assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    }
    assert_eq!(running.health().status, Serving::Serving);
    running.stop();
    running.join().await.unwrap();
}

/// A client has one subscription for all replies.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_replies_reports_the_limit() {
    let server = accounts([
        ("a".to_owned(), String::new()),
        ("b".to_owned(), "max_subscriptions: 1".to_owned()),
    ])
    .await;
    for is_multiplexed in [false, true] {
        let nats = connect(&server, "b").await;
        let taken = nats.client().subscribe("taken").await.unwrap();
        let channel = Channel::new(&nats);
        let channel = match is_multiplexed {
            true => channel.multiplexed(),
            false => channel,
        };
        let caller = CalcClient::new(channel);
        for _ in 0..5 {
            let call = caller.add(numbers()).timeout(NEVER);
            let status = refused(call.send(), TOO_MANY_SUBSCRIPTIONS).await;
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        }
        let status = refused(caller.wait_ready(NEVER), TOO_MANY_SUBSCRIPTIONS).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        // Another subscription is possible again.
        drop(taken);
        let gone = || async {
            match caller.add(numbers()).timeout(LIMIT).await {
                Err(status) if status.message().contains("no responders") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        eventually(LIMIT * 3, gone).await;
    }
}

/// The server words a limit of tokens like a missing permission.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_with_too_many_tokens_is_an_error_in_the_servers_words() {
    const WORDS: &str = "too many tokens";
    let start = |tokens: usize| {
        let config = format!("max_sub_tokens: {tokens}");
        NatsServer::builder().config(config).start()
    };
    let server = start(5).await.unwrap();
    let nats = options().connect(server.url()).await.unwrap();
    let error = try_serve(nats)
        .await
        .expect_err("the server serves some of its subjects");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(WORDS) && text.contains("max_sub_tokens"),
        "{text}"
    );

    let server = start(2).await.unwrap();
    for is_multiplexed in [false, true] {
        let nats = options().connect(server.url()).await.unwrap();
        let channel = Channel::new(&nats);
        let channel = match is_multiplexed {
            true => channel.multiplexed(),
            false => channel,
        };
        let call = CalcClient::new(channel).add(numbers()).timeout(NEVER);
        let status = refused(call.into_future(), WORDS).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }

    // The subjects of instances have the most tokens: `nmfw.calc._i.<id>.s.*`.
    let server = start(6).await.unwrap();
    let nats = options().connect(server.url()).await.unwrap();
    let running = try_serve(nats.clone()).await.unwrap();
    assert_eq!(running.health().status, Serving::Serving);
    let caller = CalcClient::new(Channel::new(&nats).multiplexed());
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_refused_with_the_servers_words() {
    let full = NatsServer::builder().config("max_connections: 1");
    let full = full.start().await.unwrap();
    let limited = account("max_connections: 1").await;
    for (server, user, words) in [
        (&full, "", "maximum connections exceeded"),
        (
            &limited,
            "a:x@",
            "maximum account active connections exceeded",
        ),
    ] {
        let url = format!("nats://{user}127.0.0.1:{}", server.port());
        let _first = eventually(LIMIT, || options().connect(&*url)).await;
        let error = options()
            .connect_attempts(2)
            .connect(&*url)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
        assert!(error.to_string().contains(words), "{words} in {error}");
        let waiting = options().wait_for_server(Duration::from_millis(500));
        let error = waiting.connect(&*url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
    }
}

/// Another client took its place while it was disconnected.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reconnect_reports_the_reason() {
    const WORDS: &str = "maximum account active connections exceeded";
    let server = account("max_connections: 1").await;
    let proxy = Proxy::start(server.port()).await.unwrap();
    let nats = options()
        .connect(format!("nats://a:x@127.0.0.1:{}", proxy.port()))
        .await
        .unwrap();
    let running = try_serve(nats.clone()).await.unwrap();
    let caller = CalcClient::new(&nats);
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
    proxy.down();
    let url = format!("nats://a:x@127.0.0.1:{}", server.port());
    let intruder = eventually(LIMIT, || options().connect(&*url)).await;
    proxy.up();

    let told = || async {
        let health = running.health();
        let nats = health.checks.iter().find(|check| check.name == "nats");
        let error = nats.and_then(|check| check.error.clone());
        let error = error.unwrap_or_default();
        (health.status == Serving::NotServing && error.contains(WORDS))
            .then_some(())
            .ok_or(format!("{health:?}"))
    };
    eventually(LIMIT, told).await;
    let call = caller.add(numbers()).timeout(NEVER);
    let status = refused(call.send(), WORDS).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.is_not_started(), "{status}");

    intruder.close(LIMIT).await.unwrap();
    eventually(LIMIT, || async {
        running.health().status == Serving::Serving
    })
    .await;
    assert_eq!(caller.add(numbers()).await.unwrap().result, 3.0);
}

/// The server announces its own `max_payload`, and closes the connection of a user that exceeds the
/// limit of its account.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_the_accounts_limit_is_an_error() {
    const WORDS: &str = "Maximum Payload Violation";
    let server = account("max_payload: 8000").await;
    let _running = puppet(connect(&server, "a").await).await;
    for is_multiplexed in [false, true] {
        let nats = connect(&server, "a").await;
        let channel = Channel::new(&nats);
        let channel = match is_multiplexed {
            true => channel.multiplexed(),
            false => channel,
        };
        let caller = PuppetClient::new(channel);
        caller.echo(Blob::default()).await.unwrap();
        let large = || Blob {
            data: vec![7; 20_000],
        };
        let began = Instant::now();
        let mut failures = 0;
        let echo = loop {
            match caller.echo(large()).timeout(Duration::from_secs(2)).await {
                Ok(echo) => break echo,
                // The service exceeds the limit with its answers in sessions, and reports that the
                // sessions ended.
                Err(status) => {
                    // A call on a session that has just ended this way was not started.
                    let is_told = status.message().contains(WORDS)
                        || status.message().contains("ended the session")
                        || status.is_not_started();
                    assert!(is_told, "{status}");
                    // The first request exceeds the limit itself. Later requests use a session.
                    if failures == 0 && !is_multiplexed {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    }
                    failures += 1;
                }
            }
            assert!(failures < 20, "the limit is never applied");
        };
        assert_eq!(echo, large());
        assert!(failures > 0, "the limit was not applied");
        assert!(began.elapsed() < LIMIT, "took {:?}", began.elapsed());
        assert!(nats.max_payload() < 8000);
    }
}
