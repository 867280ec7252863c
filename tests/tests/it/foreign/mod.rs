//! Clients, services and tools in other languages.

mod clients;
mod go_nmfw;
mod go_nmfw_wire;
mod prometheus;
mod services;
