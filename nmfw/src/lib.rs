#![doc = include_str!("../README.md")]

// Before all others, which use its macro.
#[macro_use]
mod log_limit;

#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
#[doc(hidden)]
pub mod codegen;
pub mod middleware;
pub mod permissions;
#[cfg(feature = "cli")]
mod runner;
pub mod server;

mod call;
mod error;
mod escape;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod layer;
#[cfg(feature = "prometheus")]
mod metrics_http;
mod nats;
mod observe;
mod service;
mod signal;
mod token_bucket;

pub use async_nats;
pub use futures_util::Stream;
#[cfg(feature = "embedded")]
pub use nmfw_broker as embedded;
pub use prost;
pub use prost_types;

pub use self::{
    call::{
        body::streaming::Streaming,
        context::Context,
        deadline::Deadline,
        metadata::{Metadata, MetadataEntry, MetadataError, MetadataValue},
        method::{DEFAULT_TIMEOUT, Idempotency, Method, MethodName, MethodSpec, ServiceSpec},
        status::{Code, Status, UnknownCode},
        trace_context::{TraceContext, TraceContextError},
    },
    client::Channel,
    error::{Error, ErrorKind},
    nats::{
        channel::NatsChannel,
        connection::{
            ConnectOptions, Connection, ConnectionEvent, ConnectionEvents, ConnectionState,
            ConnectionStatus, IntoServers, connect, connect_context, connect_env,
        },
        context::NatsContext,
        transport::NatsTransport,
    },
    observe::metrics,
    server::Server,
    signal::{Shutdown, ShutdownSignal, shutdown_signal},
};

/// What handlers return and calls give: a message or a [`Status`].
pub type Result<T, E = Status> = std::result::Result<T, E>;

#[cfg(doc)]
#[doc = include_str!("docs/tracing.md")]
pub mod tracing {}

/// The protocol, for whoever writes a client or a service in another language.
#[cfg(doc)]
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
