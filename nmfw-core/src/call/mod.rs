//! The model of a call, independent of its transport.

pub mod address;
pub mod attempt;
pub mod body;
pub mod client_version;
pub(crate) mod context;
pub mod deadline;
mod descriptor;
pub(crate) mod extensions;
pub mod json;
pub mod metadata;
pub mod method;
pub mod origin;
pub mod per_method;
pub mod request;
pub mod response;
pub mod spec;
pub(crate) mod status;
pub mod trace_context;
pub mod transport;
