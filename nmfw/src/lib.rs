#![doc = include_str!("../README.md")]

// Comes first, because the other modules use its macro.
#[macro_use]
extern crate nmfw_core;

#[cfg(feature = "cli")]
pub mod cli;
pub mod permissions;
#[cfg(feature = "cli")]
mod runner;
pub mod server;
pub mod trace;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "prometheus")]
mod metrics_http;
mod nats;
#[cfg(feature = "json")]
pub mod schema;
mod signal;

#[cfg(feature = "embedded")]
pub use nmfw_broker as embedded;
#[doc(hidden)]
pub use nmfw_core::codegen;
#[doc(inline)]
pub use nmfw_core::{
    Channel, Code, Context, DEFAULT_TIMEOUT, Deadline, EmbeddedSchema, Error, ErrorKind,
    Idempotency, Metadata, MetadataEntry, MetadataError, MetadataValue, Method, MethodName,
    MethodSpec, Result, ServiceSpec, Status, Stream, StreamSender, Streaming, TraceContext,
    TraceContextError, UnknownCode, client, include_proto, include_protos, metrics, middleware,
    prost, prost_types,
};

pub use self::{
    nats::{
        async_nats,
        channel::NatsChannel,
        connection::{
            ConnectOptions, Connection, ConnectionEvent, ConnectionEvents, ConnectionState,
            ConnectionStatus, IntoServers, connect, connect_context, connect_env,
        },
        context::NatsContext,
        transport::NatsTransport,
    },
    server::Server,
    signal::{Shutdown, ShutdownSignal, shutdown_signal},
};
