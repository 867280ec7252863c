#![doc = include_str!("../README.md")]

// Before all others, which use its macro.
#[macro_use]
mod log_limit;

#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
#[doc(hidden)]
pub mod codegen;
pub mod metrics;
pub mod middleware;
pub mod permissions;
pub mod server;

mod base;
mod body;
mod chunks;
mod connection;
mod context;
mod deadline;
mod driver;
mod error;
mod escape;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod metadata;
mod reply_subject;
mod session;
mod signal;
mod spec;
mod status;
mod streaming;
mod subject;
mod token_bucket;
mod trace;

pub use async_nats;
pub use futures_util::Stream;
#[cfg(feature = "embedded")]
pub use nmfw_broker as embedded;
pub use prost;
pub use prost_types;

pub use self::{
    client::Channel,
    connection::{
        ConnectOptions, Connection, ConnectionEvent, ConnectionState, ConnectionStatus,
        IntoServers, connect, connect_context, connect_env,
    },
    context::Context,
    deadline::Deadline,
    error::{Error, ErrorKind},
    metadata::{Metadata, MetadataEntry, MetadataError, MetadataValue},
    server::Server,
    signal::{Shutdown, ShutdownSignal, shutdown_signal},
    spec::{DEFAULT_TIMEOUT, Idempotency, Method, MethodSpec, ServiceSpec},
    status::{Code, Status, UnknownCode},
    streaming::Streaming,
    trace::{TraceContext, TraceContextError},
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
