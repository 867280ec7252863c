#![doc = include_str!("../README.md")]

mod error;
pub mod json;
mod schema;

pub use error::SchemaError;
pub use prost_reflect;
pub use schema::Schema;
