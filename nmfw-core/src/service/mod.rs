//! Services: the execution of calls, independent of the transport.

pub mod admission;
pub(crate) mod call_guard;
mod causes;
pub mod client_id;
mod entered;
pub mod execute;
mod fair_queue;
pub mod gauges;
pub mod handler;
pub mod health;
pub(crate) mod inline;
pub mod instance;
pub(crate) mod limits;
mod local;
pub mod selection;
#[expect(clippy::module_inception)]
pub mod service;
pub mod stalled;
pub(crate) mod stats;
pub(crate) mod timing;
mod untyped;
pub mod workers;
