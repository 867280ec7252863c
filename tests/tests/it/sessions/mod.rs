//! Sessions and the pool of them.

mod multiplexed;
mod pool;
