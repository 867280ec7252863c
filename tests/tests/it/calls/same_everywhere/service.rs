//! A service whose handlers follow the metadata `case`.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context as Cx, Poll},
    thread,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nmfw::{
    Code, Context, Deadline, NatsContext as _, Status, Stream, Streaming,
    middleware::{self, Next, Request, Response},
    server::Service,
};
use nmfw_tests::streams::{CountRequest, Item, Streams, StreamsServer, Total, item};

/// Longer than the deadlines of calls that should be late.
pub(crate) const LONG: Duration = Duration::from_millis(400);

const SHORT: Duration = Duration::from_millis(50);

/// The largest request.
pub(crate) const MAX_SIZE: usize = 64 * 1024;

/// An extension that a client's layer sets, for the layers behind it.
pub(crate) struct LeftByClient;

#[derive(Clone, Copy, Debug)]
struct Cases;

/// Creates the service, with a layer of its own.
pub(crate) fn service() -> Service {
    StreamsServer::new(Cases)
        .max_request_size(MAX_SIZE)
        .method("Sum", |limits| limits.timeout(Duration::from_millis(200)))
        .layer(middleware::from_fn(layer))
}

async fn layer(mut request: Request, next: Next) -> Result<Response, Status> {
    match request.metadata().get("case") {
        Some("layer: ok") => Err(Status::new(Code::Ok, "done")),
        Some("layer: not started") => Err(Status::unavailable("come back").not_started()),
        Some("layer: panic") => panic!("as requested"),
        Some("layer: message") => Ok(Response::new("".into())),
        Some("layer: deadline") => {
            request.limit_deadline(Deadline::after(SHORT));
            next.run(request).await
        }
        Some("layer: metadata") => {
            request.metadata_mut().insert("from-layer", "a")?;
            let mut response = next.run(request).await?;
            response.metadata_mut().insert("to-layer", "b")?;
            Ok(response)
        }
        _ => next.run(request).await,
    }
}

fn case(ctx: &Context) -> String {
    ctx.metadata().get("case").unwrap_or_default().to_owned()
}

/// A value of the handler that panics when it is dropped.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        assert!(thread::panicking(), "as requested");
    }
}

struct Holding<S>(S, PanicsWhenDropped);

impl<S: Stream + Unpin> Stream for Holding<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<S::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

fn text(text: impl Into<Vec<u8>>) -> Item {
    Item {
        number: 0,
        padding: text.into(),
    }
}

fn detailed() -> Status {
    let mut status = Status::aborted("100 % ä\n\tnew line, \u{7} and %0A").with_detail(&7_u32);
    let metadata = status.metadata_mut();
    metadata.insert("why", "not").unwrap();
    metadata.insert_bin("why-bin", vec![0, 255]).unwrap();
    status
}

fn boxed() -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
    Err("password=secret".into())
}

impl Streams for Cases {
    async fn echo(&self, ctx: Context, request: Item) -> Result<Item, Status> {
        ctx.set_response_metadata("answered-by", "cases")?;
        ctx.set_trailer("behind", "it")?;
        match case(&ctx).as_str() {
            "ok" => Err(Status::new(Code::Ok, "done")),
            "not started" => Err(Status::unavailable("the other one is full").not_started()),
            "details" => Err(detailed()),
            "long" => Err(Status::internal("ä".repeat(50_000))),
            "silent" => Err(Status::not_found("")),
            "panic" => panic!("password=secret"),
            "panic at the deadline" => {
                let _held = PanicsWhenDropped;
                pending().await
            }
            "block" => {
                thread::sleep(LONG);
                Ok(request)
            }
            "wait and block" => {
                tokio::task::yield_now().await;
                thread::sleep(LONG);
                Ok(request)
            }
            "block and fail" => {
                thread::sleep(LONG);
                Err(Status::not_found("nothing"))
            }
            "wait" | "layer: deadline" => pending().await,
            "io" => Err(io::Error::new(io::ErrorKind::NotFound, "/etc/secret"))?,
            "join" => {
                let panics = async { panic!("password=secret") };
                Ok(tokio::spawn(panics).await?)
            }
            "boxed" => Ok(boxed()?),
            "version" => Ok(text(ctx.client_version().unwrap_or("none"))),
            "extension" => Ok(text(match ctx.extension::<LeftByClient>() {
                Some(_) => "there",
                None => "not there",
            })),
            "many values" => {
                for i in 0..200 {
                    ctx.set_response_metadata(format!("k{i}"), "v")?;
                    ctx.set_trailer(format!("t{i}"), "v")?;
                }
                Ok(request)
            }
            "many values of an error" => {
                let mut status = Status::aborted("as requested");
                for i in 0..200 {
                    ctx.set_trailer(format!("t{i}"), "v")?;
                    status.metadata_mut().insert(format!("k{i}"), "v")?;
                }
                Err(status)
            }
            "metadata" | "layer: metadata" => {
                let all = ctx.metadata().iter();
                let mut all: Vec<_> = all.map(|(k, v)| format!("{k}: {v:?}")).collect();
                all.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
                Ok(text(all.join(", ")))
            }
            "reply" => Ok(text(ctx.reply().unwrap_or_default())),
            _ => Ok(request),
        }
    }

    async fn count(
        &self,
        ctx: Context,
        request: CountRequest,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        ctx.set_response_metadata("ahead", "of it")?;
        ctx.set_trailer("behind", "it")?;
        let items = stream::iter((request.from..request.to).map(|number| Ok(item(number, 0))));
        let end = |status| stream::iter([Err(status)]);
        let items = match case(&ctx).as_str() {
            "ok" => return Err(Status::new(Code::Ok, "done")),
            "not started" => return Err(Status::unavailable("full").not_started()),
            "ok in the middle" => items.chain(end(Status::new(Code::Ok, "done"))).boxed(),
            "not started in the middle" => items
                .chain(end(Status::unavailable("full").not_started()))
                .boxed(),
            "details" => items.chain(end(detailed())).boxed(),
            "panic" => items
                .chain(stream::once(async { panic!("password=secret") }))
                .boxed(),
            "panic at the end" => Holding(items, PanicsWhenDropped).boxed(),
            "panic at the deadline" => {
                Holding(items.chain(stream::pending()), PanicsWhenDropped).boxed()
            }
            "wait" | "layer: deadline" => items.chain(stream::pending()).boxed(),
            "block at the end" => items
                .chain(stream::poll_fn(|_| {
                    thread::sleep(LONG);
                    Poll::Ready(None)
                }))
                .boxed(),
            _ => items.boxed(),
        };
        Ok(items)
    }

    async fn sum(&self, ctx: Context, mut requests: Streaming<Item>) -> Result<Total, Status> {
        ctx.set_trailer("behind", "it")?;
        let mut total = Total::default();
        match case(&ctx).as_str() {
            "ok" => return Err(Status::new(Code::Ok, "done")),
            "early" => return Ok(total),
            "wait" => pending().await,
            "report" => {
                while let Some(item) = requests.message().await? {
                    total.add(&item);
                }
            }
            // A handler that mistakes an error for the end.
            _ => {
                while let Some(Ok(item)) = requests.next().await {
                    total.add(&item);
                }
            }
        }
        Ok(total)
    }

    async fn chat(
        &self,
        _ctx: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        // A handler that mistakes an error for the end.
        Ok(requests
            .take_while(|item| std::future::ready(item.is_ok()))
            .chain(stream::iter([Ok(item(99, 0))])))
    }
}
