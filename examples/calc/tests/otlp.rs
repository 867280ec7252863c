//! Tests that an OpenTelemetry collector receives the calculator's traces.

#![cfg(test)]

use std::{process::Output, time::Duration};

use nmfw_tests::{
    NatsServer, eventually,
    foreign::{CollectedSpan, Running, or_not_run, rotel},
};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(30);

fn calc(url: &str, collector: &str, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calc"));
    command
        .env("NATS_URL", url)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_SERVICE_NAME", name)
        .env_remove("NATS_CONTEXT")
        .env_remove("RUST_LOG");
    command
}

/// Finds the only span of a method that a process has sent.
fn find<'a>(spans: &'a [CollectedSpan], service: &str, name: &str) -> Option<&'a CollectedSpan> {
    let mut found = spans
        .iter()
        .filter(|span| span.service == service && span.name == name);
    let span = found.next();
    assert_eq!(found.next(), None);
    span
}

#[tokio::test]
async fn a_collector_gets_the_spans_of_client_and_service() {
    let name = "a_collector_gets_the_spans_of_client_and_service";
    let Some(rotel) = or_not_run(name, rotel().await) else {
        return;
    };
    let collector = rotel.start().await.unwrap();
    let broker = NatsServer::start().await.unwrap();
    let (url, endpoint) = (broker.url(), collector.endpoint());
    let mut run = calc(&url, &endpoint, "calc-service");
    run.arg("run");
    let service = Running::start(run, "serving").await.unwrap();
    let call = async |args: &[&str]| -> Output {
        let mut call = calc(&url, &endpoint, "calc-client");
        call.args(args).output().await.unwrap()
    };
    let sum = call(&["add", "1", "2", "3"]).await;
    assert_eq!(String::from_utf8_lossy(&sum.stdout), "6\n", "{sum:?}");
    assert!(!call(&["expression", "x"]).await.status.success());
    service.stop().await.unwrap();

    for (method, client_status) in [
        ("calc.Calc/Add", "STATUS_CODE_UNSET"),
        ("calc.Calc/Expression", "STATUS_CODE_ERROR"),
    ] {
        let (sent, handled) = eventually(LIMIT, || async {
            let spans = collector.spans();
            let sent = find(&spans, "calc-client", method)?.clone();
            let handled = find(&spans, "calc-service", method)?.clone();
            // The last fields that the collector prints.
            let is_whole = !sent.status.is_empty() && !handled.status.is_empty();
            is_whole.then_some((sent, handled))
        })
        .await;
        assert_eq!(
            (&*sent.kind, &*sent.status, &*sent.parent_id),
            ("SPAN_KIND_CLIENT", client_status, "")
        );
        // An error of the caller is not an error of the service.
        assert_eq!(
            (&*handled.kind, &*handled.status),
            ("SPAN_KIND_SERVER", "STATUS_CODE_UNSET")
        );
        assert_eq!(
            (&handled.trace_id, &handled.parent_id),
            (&sent.trace_id, &sent.id)
        );
    }
}
