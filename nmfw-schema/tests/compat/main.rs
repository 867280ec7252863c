//! Compatibility of schemas, and the comparison with `buf breaking`.

#![cfg(test)]

mod buf;
mod damage;
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
