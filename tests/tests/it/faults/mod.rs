//! Servers, instances and links that fail.

mod broker_faults;
mod edge;
mod failover;
mod killed_instance;
mod lame_duck;
mod outages;
mod regions;
mod rolling_restart;
mod streams;
