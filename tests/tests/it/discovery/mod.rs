//! What services say of themselves.

mod facts;
mod health;
mod instances;
mod replies;
mod stats;
