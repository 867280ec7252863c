#![doc = include_str!("docs/middleware.md")]

pub use crate::{
    call::{
        extensions::Extensions,
        request::{Encoding, Request},
        response::Response,
    },
    layer::{
        BoxService, CallLayer,
        from_fn::{FromFn, FromFnService, Next, from_fn},
    },
};
