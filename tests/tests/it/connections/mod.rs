//! Connecting, and losing connections.

mod bystanders;
mod connect;
mod revoked;
