//! Links that break, and peers that keep to no rules.

pub mod foreign_peer;
pub mod packets;
pub mod proxy;
