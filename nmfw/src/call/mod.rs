//! What a call is, whatever carries it.

pub(crate) mod address;
pub(crate) mod attempt;
pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod deadline;
pub(crate) mod extensions;
pub(crate) mod metadata;
pub(crate) mod method;
pub(crate) mod origin;
pub(crate) mod per_method;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod status;
pub(crate) mod trace_context;
pub(crate) mod transport;
