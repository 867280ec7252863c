//! Tests of whole sessions.

mod codec;
