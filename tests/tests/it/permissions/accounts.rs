//! A service in one account and its callers in another: on a real nats-server, because the embedded
//! broker has no accounts.

use std::time::Duration;

use nmfw::{Channel, Code, Connection, NatsChannel as _, Server};
use nmfw_tests::NatsServer;
use nmfw_tests::puppet::{Blob, FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings};

const LIMIT: Duration = Duration::from_secs(10);

/// The service has the permissions of its least-privileged user; its callers see it under its own
/// subject and, in a third account, under another.
const ACCOUNTS: &str = r#"
accounts {
  SERVICES {
    users: [ { user: service, password: x, permissions: {
      subscribe: ["nmfw.calc.>", "$SRV.>"], publish: ["_INBOX.>", "_R_.>"] } } ]
    exports: [ { service: "nmfw.calc.>" } ]
  }
  CALLERS {
    users: [ { user: caller, password: x, permissions: {
      publish: ["nmfw.calc.>"], subscribe: ["_INBOX.>"] } } ]
    imports: [ { service: { account: SERVICES, subject: "nmfw.calc.>" } } ]
  }
  OTHERS {
    users: [ { user: other, password: x } ]
    imports: [ { service: { account: SERVICES, subject: "nmfw.calc.>" }, to: "bought.calc.>" } ]
  }
  STRANGERS { users: [ { user: stranger, password: x } ] }
}
"#;

async fn server() -> NatsServer {
    NatsServer::builder()
        .config(ACCOUNTS)
        .start()
        .await
        .unwrap()
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    nmfw::connect(format!("nats://{user}:x@127.0.0.1:{}", server.port()))
        .await
        .unwrap()
}

async fn caller(server: &NatsServer, user: &str, subject: &str) -> PuppetClient {
    PuppetClient::new(Channel::new(connect(server, user).await).subject(subject))
}

fn denials(server: &NatsServer) -> Vec<String> {
    let log = server.log().text();
    log.lines()
        .filter(|line| line.contains("Violation"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_service_is_called() {
    let server = server().await;
    let strings = Strings::default();
    let service = PuppetServer::new(strings.clone())
        .name("calc")
        .subject("nmfw.calc");
    let nats = connect(&server, "service").await;
    let service = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();

    for (user, subject) in [("caller", "nmfw.calc"), ("other", "bought.calc")] {
        let caller = caller(&server, user, subject).await;
        let (seen, metadata) = caller
            .inspect(())
            .metadata("tenant", "acme")
            .send_with_metadata()
            .await
            .unwrap();
        assert!(
            seen.reply.starts_with("_R_."),
            "{user}: the call did not pass a mapping: {seen:?}"
        );
        assert_eq!(seen.subject, "nmfw.calc.Inspect", "{user}");
        assert_eq!(
            seen.metadata.get("tenant").map(String::as_str),
            Some("acme"),
            "{user}"
        );
        assert!(seen.time_left_millis.is_some(), "{user}");
        assert_eq!(metadata.get("inspected-by"), Some("puppet"), "{user}");

        // An empty answer without headers ends a mapping; it must still arrive.
        assert_eq!(
            caller.echo(Blob::default()).await.unwrap(),
            Blob::default(),
            "{user}"
        );
        let data = vec![7; 500_000];
        assert_eq!(
            caller.echo(Blob { data: data.clone() }).await.unwrap().data,
            data,
            "{user}"
        );

        let request = FailRequest {
            code: Code::Aborted.number(),
            message: "100 % ä".to_owned(),
            detail: "more".to_owned(),
            not_started: false,
        };
        let status = caller.fail(request).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Aborted, "100 % ä"),
            "{user}"
        );
        assert_eq!(status.detail::<String>().as_deref(), Some("more"), "{user}");
        assert_eq!(status.metadata().get("failed-by"), Some("puppet"), "{user}");

        let calls: Vec<_> = (0..100)
            .map(|_| tokio::spawn(caller.sleep(SleepRequest { millis: 100 }).send()))
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    service.stop();
    service.join().await.unwrap();
    assert_eq!(denials(&server), [""; 0]);
}

/// An account without the import finds no service, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_finds_nobody() {
    let server = server().await;
    let service = PuppetServer::new(Strings::default())
        .name("calc")
        .subject("nmfw.calc");
    let nats = connect(&server, "service").await;
    let _service = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let stranger = caller(&server, "stranger", "nmfw.calc").await;
    let call = stranger
        .echo(Blob::default())
        .timeout(Duration::from_secs(50));
    let status = tokio::time::timeout(LIMIT, call.send())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// Discovery is not imported with a service: waiting for the service ends at its limit, with an
/// error that gives the reason.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_not_imported() {
    let server = server().await;
    let service = PuppetServer::new(Strings::default())
        .name("calc")
        .subject("nmfw.calc");
    let nats = connect(&server, "service").await;
    let _service = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let other = caller(&server, "other", "bought.calc").await;
    other.echo(Blob::default()).await.unwrap();
    let status = other
        .wait_ready(Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// The absence of a service is known at once, across accounts too.
#[tokio::test(flavor = "multi_thread")]
async fn an_imported_service_is_not_there() {
    let server = server().await;
    for (user, subject) in [("caller", "nmfw.calc"), ("other", "bought.calc")] {
        let caller = caller(&server, user, subject).await;
        let call = caller
            .echo(Blob::default())
            .timeout(Duration::from_secs(50));
        let status = tokio::time::timeout(LIMIT, call.send())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{user}: {status}");
        assert!(
            status.message().contains(subject) && status.is_not_started(),
            "{status}"
        );
    }
}
