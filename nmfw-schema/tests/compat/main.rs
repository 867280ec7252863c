//! Compatibility of schemas, and the comparison with `buf breaking`.

#![cfg(test)]

mod rules;
mod schema;
mod table;
