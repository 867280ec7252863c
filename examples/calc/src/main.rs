//! The calculator example.
fn main() {}
