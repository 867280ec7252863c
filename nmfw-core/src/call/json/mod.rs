//! Calls in protobuf's JSON format: conversion to and from the binary format, which handlers and
//! generated clients use.

#[cfg(feature = "json")]
mod details;
#[cfg(feature = "json")]
mod transcoder;
#[cfg(not(feature = "json"))]
mod unsupported;

#[cfg(not(feature = "json"))]
pub use self::unsupported::NoTranscoder as Transcoder;
#[cfg(feature = "json")]
pub use self::{
    details::{details_from_json, details_to_json},
    transcoder::Transcoder,
};

use super::body::Body;
use crate::Status;

/// Converts a body, message by message. An error of the only message is returned; in a stream, it
/// ends the stream.
pub(crate) fn convert(
    body: &mut Body,
    mut convert: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + Send + 'static,
) -> Result<(), Status> {
    if let Body::Message(message) = body {
        *message = convert(message)?.into();
    } else {
        body.map(move |message| Ok(convert(&message)?.into()));
    }
    Ok(())
}
