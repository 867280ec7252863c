//! [`Service::untyped`]: services whose messages are known at run time only.

use futures_util::FutureExt;

use super::{
    handler::{Handlers, checked},
    service::Service,
};
use crate::{
    Method, ServiceSpec, Status,
    call::{request::Request, response::Response},
};

impl Service {
    /// Creates a service all of whose methods are served by one function with encoded messages: for
    /// mocks, proxies and scripts, which have no generated code.
    /// [`ServiceSpec::from_descriptors`] describes a service that is known at run time only.
    ///
    /// The function reads the called method from [`Request::method`] and the messages from its body.
    /// It returns one message, or for a method with a
    /// [stream of responses](Method::is_server_streaming) a body made with
    /// [`Body::from_stream`](crate::middleware::Body::from_stream). A response of the other kind
    /// becomes an error `INTERNAL`. Layers, limits, deadlines and metrics apply as to other services.
    ///
    /// ```
    /// use nmfw::{
    ///     Channel, ServiceSpec, Status,
    ///     middleware::{Request, Response},
    ///     server::Service,
    /// };
    /// # use nmfw::prost_types::{FileDescriptorSet, FileDescriptorProto, MethodDescriptorProto};
    /// # use nmfw::prost_types::ServiceDescriptorProto;
    ///
    /// # async fn example(set: &FileDescriptorSet) -> Result<(), Status> {
    /// let spec = ServiceSpec::from_descriptors(set, "calc.Calc")
    ///     .ok_or_else(|| Status::not_found("the files have no service calc.Calc"))?;
    /// let echo = Service::untyped(spec, async |request: Request| {
    ///     let message = request.body().cloned().unwrap_or_default();
    ///     Ok(Response::new(message))
    /// });
    /// let add = spec.find_method("Add").ok_or_else(|| Status::not_found("no method Add"))?;
    /// let request = Request::new(add, bytes::Bytes::from_static(b"\x08\x01"));
    /// let response = Channel::local(echo).call(request).await?;
    /// assert_eq!(response.body().unwrap(), &b"\x08\x01"[..]);
    /// # Ok(())
    /// # }
    /// # let method = MethodDescriptorProto { name: Some("Add".into()), ..Default::default() };
    /// # let service = ServiceDescriptorProto {
    /// #     name: Some("Calc".into()), method: vec![method], ..Default::default()
    /// # };
    /// # let file = FileDescriptorProto {
    /// #     package: Some("calc".into()), service: vec![service], ..Default::default()
    /// # };
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    /// # runtime.block_on(example(&FileDescriptorSet { file: vec![file] })).unwrap();
    /// ```
    pub fn untyped<F, Fut>(spec: &'static ServiceSpec, handler: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Status>> + Send + 'static,
    {
        let handlers = spec.methods().map(|method| {
            let handler = handler.clone();
            Handlers::one(move |request| {
                let call = handler(request);
                async move { finish(method, call.await) }.boxed()
            })
        });
        Self::new(spec, handlers.collect())
    }
}

/// Checks the outcome of a handler.
fn finish(method: Method, outcome: Result<Response, Status>) -> Result<Response, Status> {
    // The mark "not started" can come from a call that the handler made itself, and would cause
    // this call to be resent.
    let mark = |status: Status| {
        status
            .started()
            .returned_by(format_args!("the handler of {method}"))
    };
    let mut response = outcome.map_err(mark)?;
    let streams = method.is_server_streaming();
    if response.body.is_stream() != streams {
        let (expected, got) = match streams {
            true => ("a stream of messages", "one message"),
            false => ("one message", "a stream of messages"),
        };
        return Err(Status::internal(format!(
            "the handler of {method} returned {got} in place of {expected}"
        )));
    }
    response.metadata = checked(response.metadata)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::{Channel, Code, Metadata, MethodSpec, middleware::Body};

    static SPEC: ServiceSpec = ServiceSpec::new("a", "Pair").with_methods(&[
        MethodSpec::unary("One"),
        MethodSpec::streaming("Many"),
        MethodSpec::unary("Wrong"),
        MethodSpec::server_streaming("Few"),
        MethodSpec::unary("Refused"),
    ]);

    fn channel() -> Channel {
        Channel::local(Service::untyped(&SPEC, async |mut request: Request| {
            let body = std::mem::take(request.body_mut());
            match request.method().name() {
                "One" => {
                    let mut metadata = request.metadata().clone();
                    _ = metadata.insert("answered", "yes");
                    Ok(Response::with_body(body, metadata))
                }
                "Many" => Ok(Response::with_body(body, Metadata::new())),
                "Wrong" => Ok(Response::with_body(
                    Body::from_stream(stream::iter([Ok(Bytes::new())])),
                    Metadata::new(),
                )),
                "Few" => Ok(Response::new(Bytes::new())),
                _ => Err(Status::unavailable("elsewhere").not_started()),
            }
        }))
    }

    fn method(name: &str) -> Method {
        SPEC.find_method(name).unwrap()
    }

    #[tokio::test]
    async fn messages_and_metadata_pass() {
        let request = Request::new(method("One"), Bytes::from_static(b"\x08\x01"));
        let response = channel().call(request).await.unwrap();
        assert_eq!(response.body().unwrap(), &b"\x08\x01"[..]);
        assert_eq!(response.metadata().get("answered"), Some("yes"));
        let messages = [b"\x08\x01", b"\x08\x02"].map(|m| Ok(Bytes::from_static(m)));
        let body = Body::from_stream(stream::iter(messages));
        let response = channel()
            .call(Request::new(method("Many"), body))
            .await
            .unwrap();
        let (_, body) = response.into_parts();
        let all: Vec<_> = body.into_stream().map(Result::unwrap).collect().await;
        assert_eq!(all, [&b"\x08\x01"[..], b"\x08\x02"]);
    }

    #[tokio::test]
    async fn a_response_of_the_other_kind_is_an_error() {
        for (name, expected) in [
            (
                "Wrong",
                "the handler of a.Pair.Wrong returned a stream of messages in place of one message",
            ),
            (
                "Few",
                "the handler of a.Pair.Few returned one message in place of a stream of messages",
            ),
        ] {
            let request = Request::new(method(name), Bytes::new());
            let status = channel().call(request).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal);
            assert_eq!(status.message(), expected);
        }
    }

    #[tokio::test]
    async fn errors_count_as_started() {
        let request = Request::new(method("Refused"), Bytes::new());
        let status = channel().call(request).await.unwrap_err();
        assert_eq!(status.message(), "elsewhere");
        assert!(!status.is_not_started());
    }
}
