//! A service with many methods: `Echo`, which clients call, and unused ones.

use nmfw::{Context, Status, server::Service};

use self::generated::{Payload, Wide, WideServer};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/wide/nmfw.bench.wide.rs"));
}

/// Returns its request for every method.
#[derive(Debug)]
struct Echo;

include!(concat!(env!("OUT_DIR"), "/wide/echo.rs"));

/// Returns a service with this number of methods. `Echo` is the last, which is the most expensive
/// to find.
pub(super) fn service(count: usize) -> Service {
    let others = (1..count).map(|number| format!("Other{number}"));
    WideServer::new(Echo).only(others.chain(["Echo".to_owned()]))
}
