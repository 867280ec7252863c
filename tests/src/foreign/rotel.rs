//! Rotel, an OpenTelemetry collector, which prints the spans received by OTLP.

use std::path::PathBuf;
use std::process::Command as StdCommand;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{NotAvailable, found_once, not_installed};
use crate::failure::{Doing, Failure};
use crate::process::{Running, command};
use crate::{eventually, free_port, install};

const VERSION: &str = "0.0.1a15";

/// The time that it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The collector's program.
#[derive(Debug, Clone)]
pub struct Rotel {
    program: PathBuf,
}

/// Installs Rotel once from PyPI below the cargo target directory. The package contains the
/// program.
///
/// # Errors
///
/// Fails if there is no Python, if the installation fails, or if the program does not run here.
pub async fn rotel() -> Result<Rotel, NotAvailable> {
    static FOUND: OnceLock<Result<PathBuf, NotAvailable>> = OnceLock::new();
    Ok(Rotel {
        program: found_once(&FOUND, install_rotel).await?,
    })
}

fn install_rotel() -> Result<PathBuf, NotAvailable> {
    if install::in_path("python3").is_none() {
        return Err(NotAvailable::new("no python3 in PATH"));
    }
    let dir = install::once(&format!("rotel-{VERSION}"), |scratch| {
        let mut pip = StdCommand::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--retries", "1"])
            .args(["--only-binary", ":all:", "--target"])
            .arg(scratch)
            .arg(format!("rotel=={VERSION}"));
        install::run(&mut pip, Duration::from_secs(120))?;
        let mut version = StdCommand::new(scratch.join("rotel/rotel-agent"));
        install::run(version.arg("--version"), Duration::from_secs(20)).map(drop)
    });
    let dir = dir.map_err(|failure| not_installed(&failure))?;
    Ok(dir.join("rotel/rotel-agent"))
}

/// A running collector, killed when dropped.
#[derive(Debug)]
pub struct Collector {
    running: Running,
    port: u16,
    _directory: TempDir,
}

/// A span as printed by the collector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectedSpan {
    /// The `service.name` of its sender.
    pub service: String,
    /// In hexadecimal, like the other ids.
    pub trace_id: String,
    /// The id of the span.
    pub id: String,
    /// The id of its parent; empty for the root of a trace.
    pub parent_id: String,
    /// The name.
    pub name: String,
    /// For instance `SPAN_KIND_CLIENT`.
    pub kind: String,
    /// For instance `STATUS_CODE_ERROR`.
    pub status: String,
}

impl Rotel {
    /// Starts a collector that receives OTLP over gRPC, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Fails if it does not become ready.
    pub async fn start(&self) -> Result<Collector, Failure> {
        let directory = tempfile::tempdir().doing("create a directory for a collector")?;
        let (port, http) = (free_port()?, free_port()?);
        let mut command = command(&self.program, ["start"]);
        command
            .arg("--pid-file")
            .arg(directory.path().join("pid"))
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--exporter", "blackhole", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"]);
        let running = Running::start(command, "Starting Rotel").await?;
        eventually(START_LIMIT, || TcpStream::connect(("127.0.0.1", port))).await;
        Ok(Collector {
            running,
            port,
            _directory: directory,
        })
    }
}

impl Collector {
    /// Returns the value for `$OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the spans received so far.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        read_spans(&self.running.log())
    }
}

fn read_spans(log: &str) -> Vec<CollectedSpan> {
    let mut spans: Vec<CollectedSpan> = Vec::new();
    let mut service = String::new();
    let mut is_resource = false;
    for line in log.lines().map(str::trim) {
        // Spans have attributes of the same names.
        match line {
            "Resource attributes:" => is_resource = true,
            "ScopeSpans #0" | "Attributes:" => is_resource = false,
            _ => {}
        }
        if let Some(named) = line.strip_prefix("-> service.name: Str(")
            && is_resource
        {
            named.trim_end_matches(')').clone_into(&mut service);
        }
        if line.starts_with("Span #") {
            spans.push(CollectedSpan {
                service: service.clone(),
                ..CollectedSpan::default()
            });
        }
        let (Some(span), Some((key, value))) = (spans.last_mut(), line.split_once(':')) else {
            continue;
        };
        let place = match key.trim() {
            "Trace ID" => &mut span.trace_id,
            "Parent ID" => &mut span.parent_id,
            "ID" => &mut span.id,
            "Name" => &mut span.name,
            "Kind" => &mut span.kind,
            "Status code" => &mut span.status,
            _ => continue,
        };
        value.trim().clone_into(place);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_printed_spans() {
        let log = "Starting Rotel\nResource attributes:\n     -> service.name: Str(calc)\n\
                   ScopeSpans #0\n    Span #0\n    Trace ID       : c9\n    Parent ID      : \n    ID             : 1e\n    \
                   Name           : calc.Calc/Add\n    Kind           : SPAN_KIND_CLIENT\n\
                   Start time: 1\n    Status code    : STATUS_CODE_UNSET\n\
                   Attributes:\n     -> service.name: Str(other)\nSpan #1\n";
        let [span, second] = &read_spans(log)[..] else {
            panic!("not two spans")
        };
        assert_eq!(second.service, "calc");
        let texts = [&span.service, &span.trace_id, &span.parent_id, &span.id];
        assert_eq!(texts, ["calc", "c9", "", "1e"]);
        let texts = [&span.name, &span.kind, &span.status];
        assert_eq!(
            texts,
            ["calc.Calc/Add", "SPAN_KIND_CLIENT", "STATUS_CODE_UNSET"]
        );
    }
}
