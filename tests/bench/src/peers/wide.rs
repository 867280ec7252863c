//! A service of many methods: `Echo`, which clients know, and others that nobody calls.

use nmfw::{Context, Status, server::Service};

use self::generated::{Payload, Wide, WideServer};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/wide/nmfw.bench.wide.rs"));
}

/// Gives back what it gets, whatever is called.
#[derive(Debug)]
struct Echo;

include!(concat!(env!("OUT_DIR"), "/wide/echo.rs"));

/// With so many of its methods, `Echo` the last of them: to find that one is the most work.
pub(super) fn service(count: usize) -> Service {
    let others = (1..count).map(|number| format!("Other{number}"));
    WideServer::new(Echo).only(others.chain(["Echo".to_owned()]))
}
