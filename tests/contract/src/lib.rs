//! Messages, traits, clients and servers of a `.proto`, in a crate without NATS.
//!
//! A method that is named by its constant exists:
//!
//! ```
//! # use nmfw_contract::nmfw::streams::{StreamsClient, StreamsServer};
//! # use rpc::{client::RateLimitLayer, server::Service};
//! fn serve(service: Service, layer: RateLimitLayer) -> (Service, RateLimitLayer) {
//!     let service = service
//!         .only([StreamsServer::SUM, StreamsServer::ECHO])
//!         .method(StreamsServer::SUM, |limits| limits.concurrency(4));
//!     (service, layer.methods([StreamsClient::ECHO]))
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use nmfw_contract::nmfw::streams::{StreamsClient, StreamsServer};
//! # use rpc::{client::RateLimitLayer, server::Service};
//! fn serve(service: Service) -> Service {
//!     service.only([StreamsServer::SUMM])
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use nmfw_contract::nmfw::streams::{StreamsClient, StreamsServer};
//! # use rpc::{client::RateLimitLayer, server::Service};
//! fn limit(layer: RateLimitLayer) -> RateLimitLayer {
//!     layer.methods([StreamsClient::ECO])
//! }
//! ```

#![deny(missing_docs)]

rpc::include_protos!();
