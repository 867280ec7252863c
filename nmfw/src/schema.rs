//! Schemas of services: their descriptors, JSON, `.proto` text, JSON Schema, and compatibility. Requires
//! the feature `json`.
//!
//! [`fetch`] gets the schema of a running service; everything else is [`nmfw_schema`].

pub use nmfw_schema::*;

pub use crate::nats::schema::{DEFAULT_TIMEOUT, Fetch, fetch};
