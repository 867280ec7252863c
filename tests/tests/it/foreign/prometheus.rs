//! The HTTP endpoint of a server: the answers to probes, the verdict of promtool on the metrics,
//! and how a real Prometheus reads them.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use nmfw::{Channel, Server, server::Running};
use nmfw_tests::{
    NatsServer, TestBroker,
    broker::{Kind, Options},
    eventually,
    foreign::{or_not_run, prometheus},
    ports::free_port,
    process::{self, OwnedChild},
    puppet::{Blob, PuppetClient, PuppetServer, Strings},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Metrics with the names of Go nmfw, which the linter would name differently.
const ORIGINAL: [&str; 3] = ["nmfw_handler_runtime", "nmfw_handler_errors", "nmfw_errors"];

async fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    send(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// Starts a service. The recorder belongs to the process, so each test has a service name of its
/// own.
async fn serve(url: &str, name: &str) -> (Running, SocketAddr) {
    let running = Server::new(nmfw::connect(url).await.unwrap())
        .add_service(PuppetServer::new(Strings::default()).name(name))
        .metrics(([127, 0, 0, 1], 0))
        .start()
        .await
        .unwrap();
    let address = running.metrics_address().unwrap();
    (running, address)
}

async fn call(url: &str, times: usize) {
    let client = PuppetClient::new(Channel::new(nmfw::connect(url).await.unwrap()));
    for _ in 0..times {
        client.echo(Blob::default()).await.unwrap();
    }
}

/// More connections than the monitor accepts, without a request or with a part of one.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_no_probe_away() {
    let broker = TestBroker::start(Kind::Embedded, Options::default())
        .await
        .unwrap();
    let (running, address) = serve(&broker.url(), "crowded").await;
    let mut idle = Vec::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HT").await.unwrap();
        }
        idle.push(stream);
        if number % 100 == 99 {
            assert_eq!(get(address, "/healthz").await.0, 200);
        }
    }
    // Idle connections are closed after some time.
    let mut last = idle.pop().unwrap();
    let mut rest = Vec::new();
    let ended = timeout(LIMIT, last.read_to_end(&mut rest)).await;
    ended
        .expect("an idle connection is kept")
        .unwrap_or_default();
    running.stop();
    running.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered() {
    let mut broker = TestBroker::start(Kind::Embedded, Options::default())
        .await
        .unwrap();
    let (running, address) = serve(&broker.url(), "probed").await;
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(
        (status, body.trim_end()),
        (200, r#"{"status":"SERVING","checks":[]}"#)
    );
    assert_eq!(get(address, "/").await.0, 404);
    assert_eq!(send(address, "POST /metrics HTTP/1.0\r\n\r\n").await.0, 405);
    assert_eq!(send(address, "nonsense\r\n\r\n").await.0, 400);

    broker.stop().await.unwrap();
    eventually(LIMIT, || async { get(address, "/readyz").await.0 == 503 }).await;
    let (_, body) = get(address, "/readyz").await;
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(health["checks"][0]["name"], "nats", "{body}");
    assert_eq!(get(address, "/healthz").await.0, 200);

    // Two servers in a process share the recorder.
    let another = TestBroker::start(Kind::Embedded, Options::default())
        .await
        .unwrap();
    let (second, elsewhere) = serve(&another.url(), "probed-too").await;
    let (status, metrics) = get(elsewhere, "/metrics").await;
    assert!(
        status == 200 && metrics.contains("nmfw_handler_runtime"),
        "{status}: {metrics}"
    );
    let taken = Server::new(nmfw::connect(another.url()).await.unwrap())
        .add_service(PuppetServer::new(Strings::default()))
        .metrics(elsewhere)
        .start()
        .await
        .unwrap_err();
    assert!(
        taken.to_string().contains(&elsewhere.to_string()),
        "{taken}"
    );

    second.stop();
    second.join().await.unwrap();
    eventually(LIMIT, || async {
        TcpStream::connect(elsewhere).await.is_err()
    })
    .await;
    running.force_stop();
    running.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_linter_reports_no_problems() {
    let test = "the_linter_has_nothing_to_say";
    let Some(programs) = or_not_run(test, prometheus().await) else {
        return;
    };
    let broker = TestBroker::start(Kind::Embedded, Options::default())
        .await
        .unwrap();
    let (_running, address) = serve(&broker.url(), "linted").await;
    call(&broker.url(), 3).await;
    let (_, metrics) = get(address, "/metrics").await;
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), &metrics).unwrap();
    let mut lint = Command::new(&programs.promtool);
    lint.args(["check", "metrics"])
        .stdin(input.reopen().unwrap());
    let output = process::run(lint).await.unwrap();
    let said = output.stderr + &output.stdout;
    let of_original = |line: &&str| {
        ORIGINAL
            .iter()
            .any(|name| line.starts_with(&format!("{name} ")))
    };
    let complaints: Vec<_> = said.lines().filter(|line| !of_original(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}\n{metrics}");
    // The linter has read the metrics.
    assert!(said.contains("nmfw_errors"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_it() {
    let test = "prometheus_scrapes_it";
    let Some(programs) = or_not_run(test, prometheus().await) else {
        return;
    };
    let server = NatsServer::start().await.unwrap();
    let (_running, address) = serve(&server.url(), "scraped").await;
    call(&server.url(), 42).await;

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: calc\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut command = Command::new(&programs.prometheus);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _prometheus = OwnedChild::spawn(&mut command).unwrap();
    let query = |what: &'static str| async move {
        if TcpStream::connect(listen).await.is_err() {
            return None;
        }
        let (_, body) = get(listen, &format!("/api/v1/query?query={what}")).await;
        // The body may be chunked, but the JSON is on a separate line.
        let json = body.lines().find(|line| line.starts_with('{'))?;
        let answer: Value = serde_json::from_str(json).ok()?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?;
        value.parse::<f64>().ok()
    };
    let has = |what, value: f64| async move {
        eventually(LIMIT, || async {
            query(what)
                .await
                .is_some_and(|is| (is - value).abs() < 1e-9)
        })
        .await;
    };
    has(
        "sum(nmfw_server_requests_total%7Bservice=%22scraped%22,function=%22Echo%22,code=%22OK%22%7D)",
        42.0,
    )
    .await;
    has(
        "sum(nmfw_handler_runtime_count%7Bservice=%22scraped%22,function=%22Echo%22%7D)",
        42.0,
    )
    .await;
    has("max(nmfw_server_utilization_ratio)", 0.0).await;
    has(
        "max(nmfw_server_concurrency_limit%7Bservice=%22scraped%22,function=%22Echo%22%7D)",
        1024.0,
    )
    .await;
}
