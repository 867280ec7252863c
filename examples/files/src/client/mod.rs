//! The client side of the commands, independent of where the service runs.

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

/// The error of a command: of a file, of NATS, or a [`nmfw::Status`].
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
