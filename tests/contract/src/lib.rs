//! Messages, traits, clients and servers of a `.proto`, in a crate that knows no NATS.

#![deny(missing_docs)]

rpc::include_protos!();
