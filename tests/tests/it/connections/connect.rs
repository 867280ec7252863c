//! Connecting to a real nats-server: logins, TLS, events, and unreachable servers.

use nmfw::async_nats::ConnectOptionsExt as _;
use nmfw::async_nats::ConnectionExt as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nmfw::{
    ConnectOptions, Connection, ConnectionEvent, ConnectionEvents, ConnectionStatus, ErrorKind,
};
use nmfw_tests::{NatsServer, free_port};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Longer than any step here; only a failing test reaches it.
const LONG: Duration = Duration::from_secs(30);

/// A running nats-server, killed when dropped.
struct Server(NatsServer);

impl Server {
    async fn start(config: &str) -> Self {
        let server = NatsServer::builder().config(config).start().await;
        Self(server.unwrap())
    }

    async fn start_on(port: u16, config: &str) -> Self {
        let server = NatsServer::builder().port(port).config(config);
        Self(server.start().await.unwrap())
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn url_as(&self, login: &str) -> String {
        format!("nats://{login}@127.0.0.1:{}", self.0.port())
    }

    fn stop(&mut self) {
        self.0.kill().unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future)
        .await
        .expect("a step takes too long")
}

async fn refused(options: ConnectOptions, url: &str) -> nmfw::Error {
    within(options.connect(url))
        .await
        .expect_err("connecting succeeded")
}

/// Makes a round trip through the server, to check the connection.
async fn works(nats: &Connection) {
    use futures_util::StreamExt as _;
    let inbox = nats.client().new_inbox();
    let mut subscription = nats.client().subscribe(inbox.clone()).await.unwrap();
    nats.client().publish(inbox, "x".into()).await.unwrap();
    within(subscription.next()).await.expect("a message");
}

async fn event(
    events: &mut ConnectionEvents,
    wanted: impl Fn(&ConnectionEvent) -> bool,
) -> ConnectionEvent {
    within(async {
        loop {
            let event = events.recv().await.expect("more events");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

async fn status(nats: &Connection, wanted: ConnectionStatus) -> u64 {
    within(nats.wait_for_state(|state| state.status == wanted))
        .await
        .epoch
}

const USERS: &str = r#"
    authorization {
      users: [
        { user: alice, password: "p@ss/word" }
        { user: bob, password: secret, permissions: {
            publish: { deny: ["no.*"] }
            subscribe: { deny: ["no.*"] } } }
      ]
    }"#;

#[tokio::test]
async fn user_and_password() {
    let server = Server::start(USERS).await;
    let nats = nmfw::connect(server.url_as("alice:p%40ss%2Fword"))
        .await
        .unwrap();
    assert_eq!(nats.state().status, ConnectionStatus::Connected);
    assert_eq!(nats.state().epoch, 1);
    works(&nats).await;
    assert_eq!(nats.inbox_prefix(), "_INBOX.alice");
    assert!(nats.max_payload() > 0);
    assert!(!format!("{nats:?}").contains("p@ss"));

    let options = ConnectOptions::new()
        .user_and_password("alice", "p@ss/word")
        .inbox_prefix("_INBOX.desk");
    // The options take precedence over the URL.
    let nats = options.connect(server.url_as("alice:wrong")).await.unwrap();
    works(&nats).await;
    assert_eq!(nats.inbox_prefix(), "_INBOX.desk");
}

#[tokio::test]
async fn token() {
    let server = Server::start("authorization { token: \"t:k\" }").await;
    works(&nmfw::connect(server.url_as("t%3Ak")).await.unwrap()).await;
    let options = ConnectOptions::new().token("t:k");
    works(&options.connect(server.url()).await.unwrap()).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_at_once() {
    let server = Server::start(USERS).await;
    // With an unlimited wait, only the refusal can end it.
    let options = ConnectOptions::new().wait_for_server(Duration::MAX);
    let error = refused(options, &server.url_as("alice:hush")).await;
    assert_eq!(error.kind(), ErrorKind::Authorization);
    let text = format!("{error} {error:?}");
    assert!(text.contains(&server.url()), "{text}");
    assert!(!text.contains("hush"), "{text}");
    let error = refused(ConnectOptions::new(), &server.url()).await;
    assert_eq!(error.kind(), ErrorKind::Authorization);
}

#[tokio::test]
async fn nothing_listens() {
    let port = free_port().unwrap();
    let urls = format!("nats://u:hush@127.0.0.1:{port},127.0.0.1:1");
    let error = refused(ConnectOptions::new().connect_attempts(2), &urls).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    let text = format!("{error:?}");
    assert!(text.contains("nats://127.0.0.1:1"), "{text}");
    assert!(text.contains("2 attempts"), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

/// Accepts connections and closes them at once.
async fn hang_up(listener: TcpListener, times: usize) {
    for _ in 0..times {
        drop(listener.accept().await.unwrap());
    }
}

#[tokio::test]
async fn attempts_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string();
    let accepted = tokio::spawn(hang_up(listener, 3));
    let error = refused(ConnectOptions::new(), &url).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("3 attempts"), "{error}");
    within(accepted).await.unwrap();
}

#[tokio::test]
async fn max_reconnects_does_not_cut_the_first_round_short() {
    let server = Server::start("").await;
    let urls = format!("127.0.0.1:1,127.0.0.1:2,{}", server.url());
    let options = ConnectOptions::new()
        .max_reconnects(1)
        .retain_servers_order(true)
        .connect_attempts(1);
    works(&within(options.connect(urls)).await.unwrap()).await;
}

#[tokio::test]
async fn a_callback_chooses_the_server() {
    let server = Server::start("").await;
    let wanted = server.0.port();
    let options = ConnectOptions::new()
        .connect_attempts(1)
        .max_reconnects(1)
        .reconnect_to_server(move |servers, _| async move {
            let server = servers.into_iter().find(|s| s.addr.port() == wanted)?;
            Some(async_nats::ReconnectToServer {
                addr: server.addr,
                delay: None,
            })
        });
    let urls = format!("127.0.0.1:1,{},127.0.0.1:2", server.url());
    works(&within(options.connect(urls)).await.unwrap()).await;
}

#[tokio::test]
async fn waits_for_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connecting = tokio::spawn(async move {
        let options = ConnectOptions::new().wait_for_server(Duration::MAX);
        options.connect(format!("127.0.0.1:{port}")).await
    });
    // More attempts than are made without a pause.
    within(hang_up(listener, 4)).await;
    let _server = Server::start_on(port, "").await;
    works(&within(connecting).await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn waiting_ends_at_its_limit() {
    let limit = Duration::from_millis(300);
    let options = ConnectOptions::new().wait_for_server(limit);
    let error = refused(options, "127.0.0.1:1").await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    // A server that accepts and stays silent takes up the whole limit in one attempt.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ConnectOptions::new().wait_for_server(limit);
    let error = refused(options, &silent.local_addr().unwrap().to_string()).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn a_server_that_talks_nonsense() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    });
    let error = refused(ConnectOptions::new().connect_attempts(1), &url).await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    within(server).await.unwrap();
}

#[tokio::test]
async fn denied_subjects_are_events() {
    let server = Server::start(USERS).await;
    let nats = nmfw::connect(server.url_as("bob:secret")).await.unwrap();
    let mut events = nats.events();
    let client = nats.client();

    client.publish("no.Way", "x".into()).await.unwrap();
    let ConnectionEvent::PublishDenied { subject, .. } = event(&mut events, denied).await else {
        panic!("another event");
    };
    assert_eq!(subject, "no.Way");

    let _subscription = client.subscribe("no.Sub").await.unwrap();
    let ConnectionEvent::SubscribeDenied {
        subject,
        queue,
        error,
        ..
    } = event(&mut events, denied).await
    else {
        panic!("another event");
    };
    assert_eq!((&*subject, queue), ("no.Sub", None));
    assert_eq!(
        error,
        r#"Permissions Violation for Subscription to "no.Sub""#
    );

    let queued = client.queue_subscribe("no.Sub", "Q".to_owned());
    let _subscription = queued.await.unwrap();
    let ConnectionEvent::SubscribeDenied { subject, queue, .. } = event(&mut events, denied).await
    else {
        panic!("another event");
    };
    assert_eq!((&*subject, queue.as_deref()), ("no.Sub", Some("Q")));

    // A prefix that is reserved by the server.
    let reply = "_R_.Reply".to_owned();
    let publishing = client.publish_with_reply("yes", reply.clone(), "x".into());
    publishing.await.unwrap();
    let ConnectionEvent::ReplyDenied { reply: denied, .. } = event(&mut events, denied).await
    else {
        panic!("another event");
    };
    assert_eq!(denied, reply);
    works(&nats).await;
}

fn denied(event: &ConnectionEvent) -> bool {
    !matches!(event, ConnectionEvent::Connected)
}

#[tokio::test]
async fn a_slow_consumer_is_an_event() {
    let server = Server::start("").await;
    let options = ConnectOptions::new().subscription_capacity(1);
    let nats = options.connect(server.url()).await.unwrap();
    let mut events = nats.events();
    let _unread = nats.client().subscribe("slow").await.unwrap();
    for _ in 0..3 {
        nats.client().publish("slow", "x".into()).await.unwrap();
    }
    let slow = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SlowConsumer { .. });
    event(&mut events, slow).await;
}

#[tokio::test]
async fn a_lame_duck_is_an_event() {
    let server = Server::start("lame_duck_duration: \"30s\"").await;
    let nats = nmfw::connect(server.url()).await.unwrap();
    let mut events = nats.events();
    server.0.lame_duck().unwrap();
    event(&mut events, |event| *event == ConnectionEvent::LameDuck).await;
}

#[tokio::test]
async fn comes_back_and_says_so() {
    let mut server = Server::start("").await;
    let nats = nmfw::connect(server.url()).await.unwrap();
    let mut events = nats.events();
    server.stop();
    event(&mut events, |event| *event == ConnectionEvent::Disconnected).await;
    let before = status(&nats, ConnectionStatus::Disconnected).await;
    assert_eq!(before, 1);
    let flush = nats.flush_within(Duration::from_millis(50));
    assert_eq!(flush.await.unwrap_err().kind(), ErrorKind::TimedOut);

    let _server = Server::start_on(server.0.port(), "").await;
    event(&mut events, |event| *event == ConnectionEvent::Connected).await;
    assert!(status(&nats, ConnectionStatus::Connected).await > before);
    works(&nats).await;
    nats.flush_within(LONG).await.unwrap();
}

#[tokio::test]
async fn gives_up_after_max_reconnects() {
    let mut server = Server::start("").await;
    let options = ConnectOptions::new()
        .max_reconnects(3)
        .reconnect_delay(|_| Duration::from_millis(1));
    let nats = options.connect(server.url()).await.unwrap();
    let mut events = nats.events();
    server.stop();
    event(&mut events, |event| *event == ConnectionEvent::Closed).await;
    assert!(nats.state().is_closed());
    let error = nats.flush_within(LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    nats.close(LONG).await.unwrap();
}

#[tokio::test]
async fn closing() {
    let server = Server::start("").await;
    let nats = nmfw::connect(server.url()).await.unwrap();
    let mut events = nats.events();
    works(&nats).await;
    let clone = nats.clone();
    within(nats.close(LONG)).await.unwrap();
    assert!(clone.state().is_closed());
    event(&mut events, |event| *event == ConnectionEvent::Closed).await;
    within(clone.close(LONG)).await.unwrap();
    assert!(clone.client().publish("x", "x".into()).await.is_err());
}

#[tokio::test]
async fn what_was_published_before_closing_arrives() {
    use futures_util::StreamExt as _;
    let server = Server::start("").await;
    let listener = nmfw::connect(server.url()).await.unwrap();
    let mut arrived = listener.client().subscribe("x").await.unwrap();
    works(&listener).await;
    let nats = nmfw::connect(server.url()).await.unwrap();
    for _ in 0..1000 {
        nats.client().publish("x", "x".into()).await.unwrap();
    }
    within(nats.close(LONG)).await.unwrap();
    for _ in 0..1000 {
        within(arrived.next()).await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_last_clone_closes() {
    let server = Server::start("").await;
    let nats = nmfw::connect(server.url()).await.unwrap();
    let mut events = nats.events();
    drop(nats.clone());
    works(&nats).await;
    drop(nats);
    event(&mut events, |event| *event == ConnectionEvent::Closed).await;
}

#[tokio::test]
async fn closing_without_a_server_stops_the_reconnecting() {
    let mut server = Server::start("").await;
    let options = ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(1));
    let nats = options.connect(server.url()).await.unwrap();
    server.stop();
    status(&nats, ConnectionStatus::Disconnected).await;
    let error = nats.close(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(nats.state().is_closed());
}

#[tokio::test]
async fn someone_elses_client() {
    let server = Server::start("").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let nats = Connection::from_client(client);
    assert!(nats.is_connected());
    works(&nats).await;
    within(nats.close(LONG)).await.unwrap();
    assert!(nats.state().is_closed());
}

#[tokio::test]
async fn client_options_are_an_escape_hatch() {
    let server = Server::start("").await;
    let limit = Some(Duration::from_secs(77));
    let options = ConnectOptions::new().with_client_options(move |o| o.request_timeout(limit));
    let nats = options.connect(server.url()).await.unwrap();
    assert_eq!(nats.client().timeout(), limit);
}

#[tokio::test]
async fn impossible_settings() {
    let new = ConnectOptions::new;
    for options in [
        new().connect_attempts(0),
        new().max_reconnects(0),
        new().connection_timeout(Duration::ZERO),
        new().ping_interval(Duration::ZERO),
        new().subscription_capacity(0),
        new().client_capacity(usize::MAX),
        new().inbox_prefix("a..b"),
        new().inbox_prefix("a b"),
        new().inbox_prefix("a.*"),
        new().inbox_prefix(""),
    ] {
        let what = format!("{options:?}");
        let error = refused(options, "127.0.0.1:1").await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{what}");
    }
    let error = refused(new().require_tls(false), "tls://127.0.0.1:1").await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

#[tokio::test]
async fn nkey() {
    let pair = nkeys::KeyPair::new_user();
    let user = pair.public_key();
    let server = Server::start(&format!(
        "authorization {{ users: [ {{ nkey: {user} }} ] }}"
    ))
    .await;
    let seed = pair.seed().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.nk");
    std::fs::write(&path, format!("# key\n{seed}\n")).unwrap();

    let options = ConnectOptions::new().nkey(&seed);
    works(&options.connect(server.url()).await.unwrap()).await;
    let options = ConnectOptions::new().nkey_file(&path);
    works(&options.connect(server.url()).await.unwrap()).await;
    let other = nkeys::KeyPair::new_user().seed().unwrap();
    let error = refused(ConnectOptions::new().nkey(other), &server.url()).await;
    assert_eq!(error.kind(), ErrorKind::Authorization);
}

/// Creates a JWT as `nsc` does.
fn jwt(issuer: &nkeys::KeyPair, subject: &str, nats: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = format!(
        r#"{{"jti":"x","iat":1,"iss":"{}","name":"n","sub":"{subject}","nats":{nats}}}"#,
        issuer.public_key()
    );
    let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let body = format!("{}.{}", encode(header), encode(&claims));
    let signature = issuer.sign(body.as_bytes()).unwrap();
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn credentials() {
    let operator = nkeys::KeyPair::new_operator();
    let account = nkeys::KeyPair::new_account();
    let user = nkeys::KeyPair::new_user();
    let operator_jwt = jwt(
        &operator,
        &operator.public_key(),
        r#"{"type":"operator","version":2}"#,
    );
    let account_jwt = jwt(
        &operator,
        &account.public_key(),
        r#"{"type":"account","version":2,"limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,
            "exports":-1,"wildcards":true,"conn":-1,"leaf":-1}}"#,
    );
    let user_jwt = jwt(
        &account,
        &user.public_key(),
        r#"{"type":"user","version":2,"subs":-1,"data":-1,"payload":-1}"#,
    );
    let account = account.public_key();
    let server = Server::start(&format!(
        "operator: {operator_jwt}\nresolver: MEMORY\n\
         resolver_preload: {{ {account}: {account_jwt} }}"
    ))
    .await;

    let seed = user.seed().unwrap();
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n*****\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.creds");
    std::fs::write(&path, &creds).unwrap();
    let new = ConnectOptions::new;
    let sign = |seed: &str, nonce: &[u8]| nkeys::KeyPair::from_seed(seed)?.sign(nonce);
    for options in [
        new().credentials_file(&path),
        new().credentials(&creds),
        new().jwt_and_seed(&user_jwt, &seed),
        new().jwt(&user_jwt, {
            let seed = seed.clone();
            move |nonce| {
                let signed = sign(&seed, &nonce).map_err(async_nats::AuthError::new);
                std::future::ready(signed)
            }
        }),
        new().auth_callback({
            let (user_jwt, seed) = (user_jwt.clone(), seed.clone());
            move |nonce| {
                let mut auth = async_nats::Auth::new();
                auth.jwt = Some(user_jwt.clone());
                auth.signature = sign(&seed, &nonce).ok();
                std::future::ready(Ok(auth))
            }
        }),
    ] {
        works(&options.connect(server.url()).await.unwrap()).await;
    }

    // The file is read again on reconnect: connecting fails without it and succeeds with it.
    let options = ConnectOptions::new()
        .credentials_file(&path)
        .reconnect_delay(|_| Duration::from_millis(10));
    let nats = options.connect(server.url()).await.unwrap();
    let mut events = nats.events();
    std::fs::remove_file(&path).unwrap();
    nats.client().force_reconnect().await.unwrap();
    let failed = |event: &ConnectionEvent| matches!(event, ConnectionEvent::ClientError(_));
    event(&mut events, failed).await;
    std::fs::write(&path, &creds).unwrap();
    event(&mut events, |event| *event == ConnectionEvent::Connected).await;
    works(&nats).await;
}

/// A certificate authority and its certificates, as PEM files.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("ca.pem", ca.pem());
        for name in ["server", "client"] {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(names).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, more: &str) -> String {
        format!(
            "tls {{ cert_file: {:?}\n key_file: {:?}\n ca_file: {:?}\n {more} }}",
            self.path("server.pem"),
            self.path("server.key"),
            self.path("ca.pem")
        )
    }
}

#[tokio::test]
async fn tls_with_a_client_certificate() {
    let files = Certificates::new();
    let server = Server::start(&files.config("verify: true")).await;
    let url = format!("tls://localhost:{}", server.0.port());
    let path = |name| files.path(name);
    let new = ConnectOptions::new;
    let trusting = || new().root_certificates(path("ca.pem"));
    let complete = || trusting().client_certificate(path("client.pem"), path("client.key"));
    works(&within(complete().connect(&url)).await.unwrap()).await;
    // The server requires TLS, so a plain URL works too.
    works(&within(complete().connect(server.url())).await.unwrap()).await;

    for (options, why) in [
        (new(), "the authority is not trusted"),
        (trusting(), "no client certificate"),
        (new().root_certificates(path("gone.pem")), "no such file"),
        (
            new().root_certificates(path("client.key")),
            "not a certificate",
        ),
        (
            trusting().client_certificate(path("ca.pem"), path("ca.pem")),
            "not a key",
        ),
    ] {
        let options = options.wait_for_server(Duration::MAX);
        let error = refused(options, &url).await;
        assert_eq!(error.kind(), ErrorKind::Tls, "{why}: {error:?}");
    }
}

#[tokio::test]
async fn tls_is_not_given_up_when_the_server_has_none() {
    let server = Server::start("").await;
    let url = format!("tls://127.0.0.1:{}", server.0.port());
    let error = refused(ConnectOptions::new(), &url).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

#[tokio::test]
async fn tls_first() {
    let files = Certificates::new();
    let server = Server::start(&files.config("handshake_first: true")).await;
    let options = ConnectOptions::new()
        .root_certificates(files.path("ca.pem"))
        .tls_first(true);
    works(&within(options.connect(server.url())).await.unwrap()).await;
}

fn write_context(dir: &Path, json: &str) -> String {
    let path = dir.join("context.json");
    std::fs::write(&path, json).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_context_file() {
    let files = Certificates::new();
    let config = format!("{}\n{USERS}", files.config("verify: true"));
    let server = Server::start(&config).await;
    let context = |password: &str| {
        format!(
            r#"{{ "description": "mine", "url": "127.0.0.1:1,{}", "user": "alice",
                 "password": "{password}", "token": "", "creds": "", "nsc": "",
                 "cert": {:?}, "key": {:?}, "ca": {:?}, "inbox_prefix": "_INBOX.me",
                 "jetstream_domain": "", "color_scheme": "", "tls_first": false }}"#,
            server.url(),
            files.path("client.pem"),
            files.path("client.key"),
            files.path("ca.pem"),
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let path = write_context(dir.path(), &context("p@ss/word"));
    let nats = within(nmfw::connect_context(&path)).await.unwrap();
    works(&nats).await;
    assert_eq!(nats.inbox_prefix(), "_INBOX.me");

    let path = write_context(dir.path(), &context("wrong"));
    let error = within(nmfw::connect_context(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization);
    let options = ConnectOptions::new()
        .user_and_password("alice", "p@ss/word")
        .inbox_prefix("_INBOX.you");
    let nats = within(options.connect_context(&path)).await.unwrap();
    works(&nats).await;
    assert_eq!(nats.inbox_prefix(), "_INBOX.you");
}

#[tokio::test]
async fn websocket() {
    let port = free_port().unwrap();
    let config = format!("websocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}\n{USERS}");
    let _server = Server::start(&config).await;
    let url = format!("ws://bob:secret@127.0.0.1:{port}");
    works(&within(nmfw::connect(url)).await.unwrap()).await;
}

/// Empty entries are skipped, as in other NATS clients.
#[tokio::test]
async fn empty_entries_of_a_list_are_skipped() {
    let server = Server::start("").await;
    let url = server.url();
    for list in [
        format!("{url},"),
        format!(",{url}"),
        format!(" {url} , , 127.0.0.1:1 ,"),
    ] {
        works(&nmfw::connect(&list).await.unwrap()).await;
    }
    works(&nmfw::connect(["", url.as_str(), ","]).await.unwrap()).await;
    works(&nmfw::connect(vec![format!("{url},")]).await.unwrap()).await;

    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), format!(r#"{{"url": "{url},"}}"#)).unwrap();
    let path = file.path().to_str().unwrap();
    let context = ConnectOptions::new().connect_context(path);
    works(&within(context).await.unwrap()).await;

    for empty in ["", ",", " , "] {
        let error = refused(ConnectOptions::new(), empty).await;
        assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{empty:?}: {error}");
    }
}
