//! The services that the code in `tests/pass` and `tests/fail` uses.

#![allow(
    missing_docs,
    reason = "generated from files that have the documentation"
)]

pub mod calc {
    nmfw::include_proto!("calc");
}

pub mod streams {
    nmfw::include_proto!("nmfw.streams");
}
