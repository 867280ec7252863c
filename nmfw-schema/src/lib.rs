#![doc = include_str!("../README.md")]

mod error;
mod schema;

pub use error::SchemaError;
pub use prost_reflect;
pub use schema::Schema;
