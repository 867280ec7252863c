//! Peers that break the rules.

mod clients;
mod header_floods;
mod inboxes;
mod packets;
mod peers;
mod services;
