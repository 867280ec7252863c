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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use crate::{
        Channel, Code,
        call::{method::tests::SPEC, request::Encoding},
        middleware::Request,
        service::{handler::Handlers, service::Service},
    };

    #[test]
    fn json_is_refused_without_its_feature() {
        let channel = Channel::local(Service::new(&SPEC, Handlers::default()));
        let request = || Request::new(SPEC.method(0), Bytes::from_static(b"{}"));
        let mut in_json = request();
        in_json.set_encoding(Encoding::Json);
        let refused = channel.call(in_json).now_or_never().unwrap();
        let converted = channel.json().call(request()).now_or_never().unwrap();
        for outcome in [refused, converted] {
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented);
            assert!(status.message().contains("the feature `json`"), "{status}");
            assert!(status.is_not_started());
        }
    }
}
