//! What the commands do. None of them knows where the service is.

mod get;
mod list;
mod output;
mod partial;
mod progress;
mod put;
mod sync;
mod watch;

pub(crate) use self::{
    get::get,
    list::list,
    output::{line, plain},
    put::put,
    sync::{Options as SyncOptions, summary, sync},
    watch::{describe, watch},
};

/// How a command fails: an error of a file, of NATS, or a [`nmfw::Status`].
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
