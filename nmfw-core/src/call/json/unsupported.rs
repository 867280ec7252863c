//! [`NoTranscoder`], the transcoder without the feature `json`.

use std::convert::Infallible;

use crate::{Method, Status};

/// Converts the messages of a method; there is none without the feature `json`.
#[derive(Clone, Debug)]
pub struct NoTranscoder(Infallible);

impl NoTranscoder {
    /// Returns the reason why there is none.
    ///
    /// # Errors
    /// Always `UNIMPLEMENTED`.
    pub fn of(_: Method) -> Result<Self, Status> {
        Err(Status::unimplemented(
            "JSON is not supported here: send the request in Protobuf's binary format, or enable the \
             feature `json` of nmfw",
        ))
    }

    pub(crate) fn request_to_binary(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        match self.0 {}
    }

    pub(crate) fn request_to_json(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        match self.0 {}
    }

    pub(crate) fn response_to_binary(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        match self.0 {}
    }

    pub(crate) fn response_to_json(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        match self.0 {}
    }
}
