//! Links that break, and peers that break the rules.

pub mod foreign_peer;
pub mod packets;
pub mod proxy;
