//! Compatibility of schemas, and the comparison with `buf breaking`.

#![cfg(test)]

mod buf;
mod golden;
mod mutation;
mod pairs;
mod peer;
mod rules;
mod schema;
mod table;
