#![doc = include_str!("../README.md")]

mod cache;
pub mod compat;
mod error;
pub mod json;
pub mod json_schema;
mod message_set;
pub mod proto_text;
mod schema;

pub use cache::Cache;
pub use error::SchemaError;
pub use message_set::decode;
pub use prost_reflect;
pub use schema::Schema;
