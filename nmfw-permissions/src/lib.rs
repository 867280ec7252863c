#![doc = include_str!("../README.md")]

mod accounts;
mod error;
mod facts;
mod permissions;
mod query;
mod rules;
#[cfg(feature = "service")]
mod service;
mod text;

pub use self::{
    accounts::{Export, Import},
    error::Error,
    facts::ServiceFacts,
    permissions::{Permissions, Role},
    query::{PermissionsFormat, PermissionsKind, PermissionsQuery},
    rules::Rules,
};
