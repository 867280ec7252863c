//! Type erasure of handlers, from methods of the user's trait to a form that dispatch can store.

use std::{
    fmt, ptr,
    sync::Arc,
    task::{Poll, ready},
};

use futures_util::{
    FutureExt, Stream,
    future::BoxFuture,
    stream::{self, StreamExt},
};
use prost::Message;
use tower::service_fn;

use super::{call_guard, entered::Entered, service::Service};
use crate::{
    Context, Deadline, Metadata, Method, ServiceSpec, Status, Streaming,
    call::{
        body::{
            Body, Messages,
            chunk::Chunk,
            encode::encode,
            streaming::{Encoded, Payload, ReadingSide},
        },
        context::CallGuard,
        request::Request,
        response::Response,
    },
    layer::BoxService,
};

/// A method of a user's service trait that returns one message, such as `Calc::add`. The lifetime
/// is that of the borrow of the service, which lives as long as the future.
pub trait UnaryFn<'a, T, Q, R>: Send + Sync {
    /// The future that the method returns.
    type Future: Future<Output = Result<R, Status>> + Send + 'a;

    /// Calls the method.
    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Self::Future;
}

impl<'a, T, Q, R, F, Fut> UnaryFn<'a, T, Q, R> for F
where
    T: 'a,
    F: Fn(&'a T, Context, Q) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R, Status>> + Send + 'a,
{
    type Future = Fut;

    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Fut {
        self(service, ctx, request)
    }
}

/// A method of a user's service trait that returns a stream.
pub trait StreamingFn<'a, T, Q, R>: Send + Sync {
    /// The stream that the method returns.
    type Stream: Stream<Item = Result<R, Status>> + Send + 'static;

    /// The future that the method returns.
    type Future: Future<Output = Result<Self::Stream, Status>> + Send + 'a;

    /// Calls the method.
    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Self::Future;
}

impl<'a, T, Q, R, S, F, Fut> StreamingFn<'a, T, Q, R> for F
where
    T: 'a,
    F: Fn(&'a T, Context, Q) -> Fut + Send + Sync,
    Fut: Future<Output = Result<S, Status>> + Send + 'a,
    S: Stream<Item = Result<R, Status>> + Send + 'static,
{
    type Stream = S;
    type Future = Fut;

    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Fut {
        self(service, ctx, request)
    }
}

/// A handler of encoded messages.
pub type Handler =
    Box<dyn Fn(Request) -> BoxFuture<'static, Result<Response, Status>> + Send + Sync>;

/// The handlers of a service, in the order of its methods.
#[derive(Clone, Default)]
pub struct Handlers(Arc<[Handler]>);

impl Handlers {
    /// Boxes a handler, for [`collect`](Iterator::collect).
    pub(super) fn one<F>(handler: F) -> Handler
    where
        F: Fn(Request) -> BoxFuture<'static, Result<Response, Status>> + Send + Sync + 'static,
    {
        Box::new(handler)
    }

    pub(crate) fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        match self.0.get(request.method().index()) {
            Some(handler) => handler(request),
            None => {
                let status = Status::unimplemented(format!("no method {}", request.method()));
                std::future::ready(Err(status)).boxed()
            }
        }
    }

    /// Returns the innermost service below all layers, which may have made the deadline earlier.
    pub(crate) fn into_service(self) -> BoxService {
        BoxService::new(service_fn(move |request: Request| {
            Entered::note(&request);
            let (method, deadline) = (request.method(), request.deadline());
            let call = self.call(request);
            match deadline.timer_instant() {
                Some(_) => in_time(method, deadline, call).boxed(),
                None => call,
            }
        }))
    }
}

impl FromIterator<Handler> for Handlers {
    fn from_iter<I: IntoIterator<Item = Handler>>(handlers: I) -> Self {
        Self(handlers.into_iter().collect())
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handlers", self.0.len())
    }
}

/// Collects the handlers of a service, for generated code.
///
/// Each handler is added with its method, so the order does not matter.
pub struct ServiceBuilder<T> {
    spec: &'static ServiceSpec,
    service: Arc<T>,
    /// One slot per method, in the order of the spec.
    handlers: Vec<Option<Handler>>,
}

impl<T: Send + Sync + 'static> ServiceBuilder<T> {
    /// Creates a builder without handlers.
    #[must_use]
    pub fn new(spec: &'static ServiceSpec, service: Arc<T>) -> Self {
        Self {
            spec,
            service,
            handlers: spec.methods().map(|_| None).collect(),
        }
    }

    /// Adds the handler of a method with one request and one response.
    ///
    /// # Panics
    /// Panics if the method belongs to another service, has another kind, or already has a handler.
    #[must_use]
    pub fn unary<Q, R, F>(self, method: Method, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: for<'a> UnaryFn<'a, T, Q, R> + Copy + 'static,
    {
        self.add(method, (false, false), move |service, request| {
            one::<T, Q, R, F>(service, handler, request).boxed()
        })
    }

    /// Adds the handler of a method with a stream of requests and one response.
    ///
    /// # Panics
    /// See [`unary`](Self::unary).
    #[must_use]
    pub fn client_streaming<Q, R, F>(self, method: Method, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: for<'a> UnaryFn<'a, T, Streaming<Q>, R> + Copy + 'static,
    {
        self.add(method, (true, false), move |service, request| {
            one::<T, Streaming<Q>, R, F>(service, handler, request).boxed()
        })
    }

    /// Adds the handler of a method with one request and a stream of responses.
    ///
    /// # Panics
    /// See [`unary`](Self::unary).
    #[must_use]
    pub fn server_streaming<Q, R, F>(self, method: Method, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: for<'a> StreamingFn<'a, T, Q, R> + Copy + 'static,
    {
        self.add(method, (false, true), move |service, request| {
            many::<T, Q, R, F>(service, handler, request).boxed()
        })
    }

    /// Adds the handler of a method with streams in both directions.
    ///
    /// # Panics
    /// See [`unary`](Self::unary).
    #[must_use]
    pub fn streaming<Q, R, F>(self, method: Method, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: for<'a> StreamingFn<'a, T, Streaming<Q>, R> + Copy + 'static,
    {
        self.add(method, (true, true), move |service, request| {
            many::<T, Streaming<Q>, R, F>(service, handler, request).boxed()
        })
    }

    fn add<F>(mut self, method: Method, streams: (bool, bool), call: F) -> Self
    where
        F: Fn(Arc<T>, Request) -> BoxFuture<'static, Result<Response, Status>>
            + Send
            + Sync
            + 'static,
    {
        assert!(
            ptr::eq(method.service(), self.spec),
            "{method} is not a method of the service {}",
            self.spec.full_name()
        );
        assert!(
            streams == (method.is_client_streaming(), method.is_server_streaming()),
            "the handler of {method} has another kind: use the builder function for the sides that \
             stream"
        );
        let service = Arc::clone(&self.service);
        let handler = Handlers::one(move |request| call(Arc::clone(&service), request));
        let before = self.handlers[method.index()].replace(handler);
        assert!(before.is_none(), "{method} has two handlers");
        self
    }

    /// Builds the service.
    ///
    /// # Panics
    /// Panics if a method has no handler.
    pub fn build(self) -> Service {
        let handlers = self.spec.methods().zip(self.handlers);
        let handlers = handlers.map(|(method, handler)| match handler {
            Some(handler) => handler,
            None => panic!("{method} has no handler"),
        });
        Service::new(self.spec, handlers.collect())
    }
}

/// Returns the outcome of a method that has no implementation.
///
/// # Errors
/// Always fails with `UNIMPLEMENTED`.
pub fn unimplemented<R>(method: Method) -> Result<R, Status> {
    let text = format!("the service has no implementation of {method}");
    Err(Status::unimplemented(text))
}

impl<T> fmt::Debug for ServiceBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("spec", self.spec)
            .finish_non_exhaustive()
    }
}

/// Ends a call, including its response stream, at its deadline.
async fn in_time(
    method: Method,
    deadline: Deadline,
    call: BoxFuture<'static, Result<Response, Status>>,
) -> Result<Response, Status> {
    let outcome = deadline.limit(call).await;
    let response = outcome.unwrap_or_else(|| Err(call_guard::late(method)))?;
    let Response { metadata, body } = response;
    let Body::Messages(messages) = body else {
        return Ok(Response { metadata, body });
    };
    let mut passed = Box::pin(deadline.passed());
    let messages = messages.wrap(|mut messages| {
        stream::poll_fn(move |cx| match messages.poll_next_unpin(cx) {
            Poll::Pending => {
                ready!(passed.as_mut().poll(cx));
                call_guard::clear(method, &mut messages);
                Poll::Ready(Some(Err(call_guard::late(method))))
            }
            item => item,
        })
    });
    Ok(Response::streaming(messages, metadata))
}

/// Calls a method that returns one message.
async fn one<T, Q, R, F>(service: Arc<T>, method: F, request: Request) -> Result<Response, Status>
where
    Q: Payload,
    R: Message,
    F: for<'a> UnaryFn<'a, T, Q, R>,
{
    let name = request.method();
    let (context, body) = Context::from_request(request);
    let input = Q::from_body(Encoded(body), name, ReadingSide::Service)?;
    let guard = context.guard();
    let outcome = method.call(&service, context.clone(), input).await;
    guard.finish();
    match outcome {
        Ok(message) => {
            let metadata = checked(context.take_trailers())?;
            let body = message.encode_to_vec().into();
            Ok(Response::with_metadata(body, metadata))
        }
        Err(status) => Err(failed(status, &context)),
    }
}

/// Calls a method that returns a stream. The call lasts until the stream has ended.
async fn many<T, Q, R, F>(service: Arc<T>, method: F, request: Request) -> Result<Response, Status>
where
    Q: Payload,
    R: Message,
    F: for<'a> StreamingFn<'a, T, Q, R>,
{
    let name = request.method();
    let (context, body) = Context::from_request(request);
    let input = Q::from_body(Encoded(body), name, ReadingSide::Service)?;
    let guard = context.guard();
    let outcome = method.call(&service, context.clone(), input).await;
    match outcome {
        Ok(stream) => {
            let metadata = checked(context.take_response_metadata())?;
            let answers = Messages::new(answers(stream, context.clone(), guard))
                .with_trailers(move || context.take_trailers());
            Ok(Response::streaming(answers, metadata))
        }
        Err(status) => {
            guard.finish();
            Err(failed(status, &context))
        }
    }
}

/// Encodes a handler's response stream.
fn answers<R: Message>(
    stream: impl Stream<Item = Result<R, Status>> + Send + 'static,
    context: Context,
    guard: CallGuard,
) -> impl Stream<Item = Result<Chunk, Status>> + Send + 'static {
    let mut stream = Box::pin(encode(stream));
    let mut guard = Some(guard);
    stream::poll_fn(move |cx| {
        let item = ready!(stream.poll_next_unpin(cx))
            .map(|item| item.map_err(|status| failed(status, &context)));
        if !matches!(item, Some(Ok(_)))
            && let Some(guard) = guard.take()
        {
            guard.finish();
        }
        Poll::Ready(item)
    })
}

/// Checks that a response can carry the metadata.
pub(super) fn checked(metadata: Metadata) -> Result<Metadata, Status> {
    match metadata.check_size() {
        Ok(()) => Ok(metadata),
        Err(problem) => Err(Status::internal(format!(
            "the response has invalid metadata: {problem}"
        ))),
    }
}

/// Converts a handler's own error.
fn failed(status: Status, context: &Context) -> Status {
    // The handler has run. The mark "not started" can come from a call that the handler made
    // itself, and would cause this call to be resent.
    let mut status = status.started();
    if let Some(method) = context.method() {
        status = status.returned_by(format_args!("the handler of {method}"));
    }
    let own = status.metadata().clone();
    status.metadata_mut().merge(&context.take_trailers());
    if let Err(error) = status.metadata().check_size() {
        log_limited!(warn, %status, %error, "the metadata of an error is not sent");
        *status.metadata_mut() = own;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MethodSpec;

    static SPEC: ServiceSpec = ServiceSpec::new("a", "Pair").with_methods(&[
        MethodSpec::unary("First"),
        MethodSpec::client_streaming("Second"),
    ]);
    const FIRST: Method = SPEC.method_named("First");
    const SECOND: Method = SPEC.method_named("Second");

    struct Pair;

    impl Pair {
        async fn first(&self, _: Context, request: String) -> Result<String, Status> {
            Ok(request)
        }

        async fn second(&self, _: Context, _: Streaming<String>) -> Result<String, Status> {
            Ok("second".to_owned())
        }
    }

    fn builder() -> ServiceBuilder<Pair> {
        ServiceBuilder::new(&SPEC, Arc::new(Pair))
    }

    #[tokio::test]
    async fn handlers_go_by_their_methods() {
        let service = builder()
            .client_streaming(SECOND, Pair::second)
            .unary(FIRST, Pair::first)
            .build();
        let client = crate::codegen::v1::Client::local(service);
        let answer: String = client.unary(FIRST, "first".to_owned()).await.unwrap();
        assert_eq!(answer, "first");
        let requests = stream::iter([String::new()]);
        let answer: String = client.client_streaming(SECOND, requests).await.unwrap();
        assert_eq!(answer, "second");
    }

    #[test]
    #[should_panic = "a.Pair.Second has no handler"]
    fn a_method_without_a_handler_is_found() {
        let _ = builder().unary(FIRST, Pair::first).build();
    }

    #[test]
    #[should_panic = "a.Pair.First has two handlers"]
    fn a_method_has_one_handler() {
        let _ = builder()
            .unary(FIRST, Pair::first)
            .unary(FIRST, Pair::first);
    }

    #[test]
    #[should_panic = "the handler of a.Pair.Second has another kind"]
    fn a_handler_is_of_the_kind_of_its_method() {
        let _ = builder().unary(SECOND, Pair::first);
    }

    #[test]
    #[should_panic = "calc.Calc.Add is not a method of the service a.Pair"]
    fn a_handler_is_of_the_same_service() {
        let add = crate::call::method::tests::SPEC.method_named("Add");
        let _ = builder().unary(add, Pair::first);
    }
}
