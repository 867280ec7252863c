#![doc = include_str!("docs/cli/module.md")]

pub use crate::runner::{
    BoxError, Command, Connect, EXIT_FORCED, EXIT_GRACE_ENDED, IntoServices, Log, LogFormat,
    Permissions, Run, clap, failure, run, version,
};
