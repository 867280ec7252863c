//! The metrics, read as by Prometheus. The recorder belongs to the whole process, so the parts run
//! one after the other.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use nmfw::{Channel, Code, NatsChannel as _, Server};
use nmfw_tests::{
    TestBroker,
    broker::{Kind, Options, run},
    eventually, in_own_process,
    puppet::{Blob, FailRequest, PuppetClient, PuppetServer, SleepRequest, Strings},
    streams::{CountRequest, Flows, StreamsClient, StreamsServer, Total, items},
};

const LIMIT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(60);

struct Figures(PrometheusHandle);

impl Figures {
    /// Returns the sum of all lines with this name and these labels.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.0.render();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        });
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    fn has(&self, name: &str, labels: &[&str], value: f64) -> bool {
        (self.sum(name, labels) - value).abs() < 1e-9
    }

    #[track_caller]
    fn expect(&self, name: &str, labels: &[&str], value: f64) {
        let is = self.sum(name, labels);
        assert!(
            (is - value).abs() < 1e-9,
            "{name} {labels:?}: {is}, not {value}\n{}",
            self.0.render()
        );
    }
}

/// Checks unary calls. The services have a different name for each broker, so that their counts
/// stay separate. Clients use the names in the `.proto`.
async fn unary(broker: &TestBroker, figures: &Figures, multiplexed: bool) {
    let name = format!("puppet-{}-{multiplexed}", broker.port());
    let own = format!("service=\"{name}\"");
    let strings = Strings::default();
    let service = PuppetServer::new(strings.clone())
        .name(name.as_str())
        .method("Sleep", |limits| limits.concurrency(1).queue(0));
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let running = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let mut channel = Channel::new(nmfw::connect(broker.url()).await.unwrap());
    if multiplexed {
        channel = channel.multiplexed();
    }
    let client = PuppetClient::new(channel);
    let ours = "service=\"nmfw-puppet\"";
    let client_ok = |function: &str| {
        let function = format!("function=\"{function}\"");
        figures.sum(
            "nmfw_client_requests_total",
            &[ours, &function, "code=\"OK\""],
        )
    };
    let redispatches = figures.sum("nmfw_client_redispatches_total", &[ours]);
    let echoes = client_ok("Echo");
    let sent = figures.sum("nmfw_client_sent_bytes_total", &[ours, "function=\"Echo\""]);

    for _ in 0..3 {
        let data = vec![7; 100];
        client.echo(Blob { data }).await.unwrap();
    }
    let failure = FailRequest {
        code: Code::NotFound as i32,
        ..FailRequest::default()
    };
    client.fail(failure).await.unwrap_err();
    let echo = [own.as_str(), "function=\"Echo\""];
    // A response is counted when it is sent.
    eventually(LIMIT, || async {
        figures.has("nmfw_server_sent_bytes_total", &echo, 3.0 * 102.0)
    })
    .await;
    figures.expect("nmfw_server_received_bytes_total", &echo, 3.0 * 102.0);
    figures.expect(
        "nmfw_server_requests_total",
        &[echo[0], echo[1], "code=\"OK\""],
        3.0,
    );
    figures.expect("nmfw_handler_runtime_count", &echo, 3.0);
    figures.expect("nmfw_handler_errors", &echo, 0.0);
    let fail = [own.as_str(), "function=\"Fail\""];
    figures.expect(
        "nmfw_server_requests_total",
        &[fail[0], fail[1], "code=\"NOT_FOUND\""],
        1.0,
    );
    figures.expect("nmfw_handler_errors", &fail, 1.0);
    figures.expect("nmfw_errors", &fail, 0.0);
    assert!((client_ok("Echo") - echoes - 3.0).abs() < 1e-9);
    let more = figures.sum("nmfw_client_sent_bytes_total", &[ours, "function=\"Echo\""]) - sent;
    assert!((more - 3.0 * 102.0).abs() < 1e-9, "{more} bytes");

    // One call sleeps, which is the maximum.
    let sleep = [own.as_str(), "function=\"Sleep\""];
    let sleeper = tokio::spawn(client.sleep(SleepRequest { millis: 60_000 }).send());
    eventually(LIMIT, || async {
        strings.started() - strings.finished() == 1
    })
    .await;
    let refused = client.sleep(SleepRequest { millis: 0 }).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let attempts = figures.sum("nmfw_server_not_started_total", &sleep);
    assert!(attempts >= 2.0, "{attempts} attempts");
    figures.expect("nmfw_errors", &sleep, attempts);
    figures.expect(
        "nmfw_server_requests_total",
        &[sleep[0], sleep[1], "code=\"RESOURCE_EXHAUSTED\""],
        attempts,
    );
    let again = figures.sum("nmfw_client_redispatches_total", &[ours]) - redispatches;
    assert!(
        (again - (attempts - 1.0)).abs() < 1e-9,
        "{again} of {attempts}"
    );
    for (name, value) in [
        ("nmfw_server_in_flight", 1.0),
        ("nmfw_server_queue_depth", 0.0),
        ("nmfw_server_concurrency_limit", 1.0),
        ("nmfw_server_utilization_ratio", 1.0),
    ] {
        eventually(LIMIT, || async { figures.has(name, &sleep, value) }).await;
    }
    figures.expect("nmfw_client_in_flight", &[ours], 1.0);

    // Abandoned.
    let cancelled = ["function=\"Sleep\"", "code=\"CANCELLED\""];
    let before = figures.sum("nmfw_client_requests_total", &cancelled);
    sleeper.abort();
    eventually(LIMIT, || async {
        figures.has("nmfw_client_in_flight", &[ours], 0.0)
    })
    .await;
    figures.expect("nmfw_client_requests_total", &cancelled, before + 1.0);
    running.force_stop();
    running.join().await.unwrap();
    // The contribution of an instance to a gauge is removed with it.
    eventually(LIMIT, || async {
        figures.has("nmfw_server_concurrency_limit", &[&own], 0.0)
    })
    .await;
}

async fn streams(broker: &TestBroker, figures: &Figures) {
    let name = format!("streams-{}", broker.port());
    let own = format!("service=\"{name}\"");
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let service = StreamsServer::new(Flows::default()).name(name.as_str());
    let running = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let client = StreamsClient::new(Channel::new(nmfw::connect(broker.url()).await.unwrap()));
    let ours = "service=\"nmfw-streams\"";
    let received = figures.sum("nmfw_client_stream_messages_received_total", &[ours]);
    let count = CountRequest {
        to: 1000,
        ..CountRequest::default()
    };
    let total = Total::of(client.count(count).await.unwrap()).await.unwrap();
    assert_eq!(total.count, 1000);
    assert_eq!(client.sum(items(0, 500, 10)).await.unwrap().count, 500);
    let (count, sum) = ("function=\"Count\"", "function=\"Sum\"");
    figures.expect(
        "nmfw_server_stream_messages_sent_total",
        &[&own, count],
        1000.0,
    );
    figures.expect(
        "nmfw_server_stream_messages_received_total",
        &[&own, sum],
        500.0,
    );
    let more = figures.sum("nmfw_client_stream_messages_received_total", &[ours]) - received;
    assert!((more - 1000.0).abs() < 1e-9, "{more} messages");
    assert!(figures.sum("nmfw_server_received_bytes_total", &[&own, sum]) >= 500.0 * 10.0);
    figures.expect("nmfw_client_in_flight", &[ours], 0.0);
    for (side, name) in [("client", "side=\"client\""), ("server", "side=\"server\"")] {
        assert!(
            figures.sum("nmfw_sessions", &[name]) >= 1.0,
            "no session of a {side}"
        );
    }

    // A peer that reads nothing stalls the other side.
    let stalls = figures.sum("nmfw_session_window_stalls_total", &["side=\"server\""]);
    let endless = CountRequest {
        to: u64::MAX,
        ..CountRequest::default()
    };
    let stream = client.count(endless).await.unwrap();
    eventually(LIMIT, || async {
        figures.sum("nmfw_session_window_stalls_total", &["side=\"server\""]) > stalls
    })
    .await;
    drop(stream);
    running.force_stop();
    running.join().await.unwrap();
}

/// Checks that metrics exist at 0 before the first event, so that the first event is an increase.
async fn at_zero(figures: &Figures) {
    let broker = TestBroker::start(Kind::Embedded, Options::default())
        .await
        .unwrap();
    let _nats = nmfw::connect(broker.url()).await.unwrap();
    let text = figures.0.render();
    for line in [
        "nmfw_connection_reconnects_total 0",
        "nmfw_connection_dropped_messages_total 0",
        "nmfw_sessions{side=\"client\"} 0",
        "nmfw_sessions{side=\"server\"} 0",
        "nmfw_session_window_stalls_total{side=\"client\"} 0",
        "nmfw_session_retransmissions_total{side=\"server\"} 0",
        "nmfw_session_dropped_packets_total{side=\"client\"} 0",
    ] {
        assert!(text.lines().any(|each| each == line), "no {line}:\n{text}");
    }
}

async fn all(mut broker: TestBroker, figures: &Figures) {
    unary(&broker, figures, false).await;
    unary(&broker, figures, true).await;
    streams(&broker, figures).await;
    let _idle = nmfw::connect(broker.url()).await.unwrap();
    let reconnects = figures.sum("nmfw_connection_reconnects_total", &[]);
    broker.restart().await.unwrap();
    eventually(LIMIT, || async {
        figures.sum("nmfw_connection_reconnects_total", &[]) > reconnects
    })
    .await;
}

in_own_process! {
    async fn figures_tell_what_happens() {
        let seconds = [0.001, 0.01, 0.1, 1.0];
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Prefix("nmfw_".to_owned()), &seconds)
            .unwrap();
        let figures = Figures(builder.install_recorder().unwrap());
        at_zero(&figures).await;
        for kind in Kind::BOTH {
            let body = |broker| all(broker, &figures);
            run("figures_tell_what_happens", kind, LONG, body).await;
        }
        // Every metric has a description.
        let text = figures.0.render();
        let count = |begin| text.lines().filter(|line| line.starts_with(begin)).count();
        assert_eq!(count("# TYPE nmfw_"), count("# HELP nmfw_"), "{text}");
        assert!(count("# TYPE nmfw_") > 20, "{text}");
    }
}
