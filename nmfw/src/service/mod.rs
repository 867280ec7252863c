//! A service: what happens to its calls, whatever carries them.

pub(crate) mod admission;
pub(crate) mod call_guard;
mod causes;
pub(crate) mod client_id;
pub(crate) mod execute;
mod fair_queue;
pub(crate) mod gauges;
pub(crate) mod handler;
pub(crate) mod health;
pub(crate) mod inline;
pub(crate) mod instance;
pub(crate) mod limits;
mod local;
pub(crate) mod selection;
#[expect(clippy::module_inception)]
pub(crate) mod service;
pub(crate) mod stalled;
pub(crate) mod stats;
pub(crate) mod workers;
