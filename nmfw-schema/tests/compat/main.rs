//! Compatibility of schemas, and the comparison with `buf breaking`.

#![cfg(test)]

mod buf;
mod golden;
mod hostile;
mod mutation;
mod pairs;
mod peer;
mod report;
mod rules;
mod schema;
mod table;
mod tree;
