//! Microservices on NATS from a `.proto`.

#[cfg(feature = "embedded")]
pub mod embedded;
