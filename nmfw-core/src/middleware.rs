#![doc = include_str!("docs/middleware.md")]

pub use crate::{
    call::{
        body::{Body, MessageStream},
        extensions::Extensions,
        request::{Encoding, Parts, Request},
        response::Response,
    },
    layer::{
        BoxService, CallLayer,
        from_fn::{FromFn, FromFnService, Next, from_fn},
    },
};
