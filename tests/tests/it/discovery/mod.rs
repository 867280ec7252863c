//! Discovery of services.

mod facts;
mod health;
mod instances;
mod replies;
mod schema;
mod stats;
