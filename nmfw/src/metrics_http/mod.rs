//! [`Monitor`]: the HTTP endpoint of a server, for Prometheus and probes.

mod connection_slots;
mod exporter;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use self::connection_slots::{ConnectionSlot, ConnectionSlots};
use crate::Error;
use nmfw_core::{
    error::ErrorKind,
    service::health::{Health, Serving},
};

/// Maximum number of open connections. There are few scrapers and probes; beyond the limit, the
/// connection that has been idle longest is closed.
const MAX_CONNECTIONS: usize = 256;

/// Time limit for the header of a request.
const MAX_HEADER_TIME: Duration = Duration::from_secs(5);

/// Time limit for a connection, from its start to the end of the response.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The content type of `/metrics`.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A listening endpoint, closed when dropped.
#[derive(Debug)]
pub(super) struct Monitor {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Monitor {
    /// Starts the endpoint, which reports the current result of `health`.
    pub(super) async fn start(
        address: SocketAddr,
        health: impl Fn() -> Health + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let error = |error: std::io::Error| {
            let text = format!("cannot listen on {address} for metrics and probes: {error}");
            Error::new(ErrorKind::Other, text).with_source(error)
        };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        exporter::installed();
        tracing::info!(%address, "serving /metrics, /healthz and /readyz over HTTP");
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, Arc::new(health)));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn listen<H>(listener: TcpListener, health: Arc<H>)
where
    H: Fn() -> Health + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    let mut slots = ConnectionSlots::new(MAX_CONNECTIONS);
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let slot = ConnectionSlot::default();
                let health = Arc::clone(&health);
                let serving = serve(stream, slot.clone(), health);
                if slots.add(connections.spawn(serving), slot) {
                    log_limited!(
                        debug,
                        "closed an idle HTTP connection to make room for a new one"
                    );
                }
            }
            Err(error) => {
                // Most likely the process is temporarily out of file descriptors.
                log_limited!(warn, %error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve<H>(stream: TcpStream, slot: ConnectionSlot, health: Arc<H>)
where
    H: Fn() -> Health + Send + Sync + 'static,
{
    let (slot, health) = (&slot, &*health);
    let service = service_fn(|request: Request<Incoming>| async move {
        slot.requested();
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), health))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEADER_TIME)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(MAX_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log_limited!(debug, %error, "an HTTP connection failed"),
        Err(_) => log_limited!(
            debug,
            "an HTTP connection was closed: it exceeded its time limit"
        ),
    }
}

fn answer(method: &Method, path: &str, health: impl Fn() -> Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if method != Method::GET && method != Method::HEAD {
        let mut response = response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD are supported\n",
        );
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match path {
        "/metrics" => match exporter::installed() {
            Some(recorder) => response(StatusCode::OK, PROMETHEUS, recorder.render()),
            None => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "the program has installed its own metrics recorder: use the exporter of that \
                 recorder\n",
            ),
        },
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => {
            let health = health();
            let status = match health.status {
                Serving::Serving => StatusCode::OK,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            match serde_json::to_string(&health) {
                Ok(json) => response(status, "application/json", json + "\n"),
                Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
            }
        }
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "not found: the paths are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
