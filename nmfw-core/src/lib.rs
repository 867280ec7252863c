#![doc = include_str!("../README.md")]

// Comes first, because the other modules use its macro.
#[doc(hidden)]
#[macro_use]
pub mod log_limit;

pub mod client;
#[doc(hidden)]
pub mod codegen;
pub mod middleware;
pub mod server;

#[doc(hidden)]
pub mod call;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod escape;
#[doc(hidden)]
pub mod layer;
#[doc(hidden)]
pub mod observe;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod token_bucket;

pub use futures_util::Stream;
pub use prost;
pub use prost_types;

pub use self::{
    call::{
        body::{stream_sender::StreamSender, streaming::Streaming},
        context::Context,
        deadline::Deadline,
        metadata::{Metadata, MetadataEntry, MetadataError, MetadataValue},
        method::{Method, MethodName},
        spec::{DEFAULT_TIMEOUT, EmbeddedSchema, Idempotency, MethodSpec, ServiceSpec},
        status::{Code, Status, UnknownCode},
        trace_context::{TraceContext, TraceContextError},
    },
    client::Channel,
    error::{Error, ErrorKind},
    observe::metrics,
};

/// The result of handlers and calls: a message or a [`Status`].
pub type Result<T, E = Status> = std::result::Result<T, E>;
