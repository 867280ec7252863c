//! A service of streams that follows the instructions in its requests, and counts its calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream};
use nmfw::{Channel, Context, Server, Status, Stream, Streaming, server::Running};

pub use self::generated::*;
use super::fates::Fates;

#[allow(
    missing_docs,
    reason = "generated from streams.proto, which has the documentation"
)]
mod generated {
    nmfw::include_proto!("nmfw.streams");
}

/// The implementation. Clones share their counters.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    fates: Fates,
    sent: Arc<AtomicU64>,
}

impl Flows {
    /// Returns the number of calls that have begun.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.fates.started()
    }

    /// Returns the number of calls that completed, including streams.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.fates.finished()
    }

    /// Returns the number of calls that were dropped before they completed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.fates.dropped()
    }

    /// Returns the number of items made by `Count`.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// Adds an item to a checksum of items in order.
#[must_use]
pub fn checksum(before: u64, item: &Item) -> u64 {
    let bytes = item.number.to_le_bytes();
    let bytes = bytes.iter().chain(&item.padding);
    // FNV-1a
    bytes.fold(before ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Total {
    /// Adds an item to the total.
    pub fn add(&mut self, item: &Item) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(item.number);
        self.bytes += item.padding.len() as u64;
        self.checksum = checksum(self.checksum, item);
    }

    /// Returns the total of all items of a stream.
    ///
    /// # Errors
    /// Returns the error of the stream.
    pub async fn of(mut items: Streaming<Item>) -> Result<Self, Status> {
        let mut total = Self::default();
        while let Some(item) = items.message().await? {
            total.add(&item);
        }
        Ok(total)
    }
}

/// Creates an item like those of `Count`.
#[must_use]
pub fn item(number: u64, size: u32) -> Item {
    let byte = number.to_le_bytes()[0];
    Item {
        number,
        padding: vec![byte; size as usize],
    }
}

fn number(ctx: &Context, key: &str) -> Option<u64> {
    ctx.metadata().get(key)?.parse().ok()
}

impl Streams for Flows {
    async fn echo(&self, ctx: Context, mut request: Item) -> Result<Item, Status> {
        self.fates.enter().leave();
        let grow = number(&ctx, "grow").and_then(|grow| usize::try_from(grow).ok());
        let size = request.padding.len() + grow.unwrap_or(0);
        request.padding.resize(size, 0);
        Ok(request)
    }

    async fn count(
        &self,
        ctx: Context,
        request: CountRequest,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        let entered = self.fates.enter();
        ctx.set_response_metadata("counts-to", request.to.to_string())?;
        if request.to < request.from {
            return Err(Status::invalid_argument("the end is below the start"));
        }
        let until = match number(&ctx, "until-stop") {
            Some(_) => ctx.stopping().left_future(),
            None => std::future::pending().right_future(),
        };
        let state = (ctx, request.from, entered, Arc::clone(&self.sent));
        let items = stream::try_unfold(state, move |(ctx, next, mut entered, sent)| async move {
            if request.fail_at == Some(next) {
                entered.leave();
                ctx.set_trailer("failed-at", next.to_string())?;
                return Err(Status::data_loss("requested failure"));
            }
            assert!(request.panic_at != Some(next), "requested panic");
            if next >= request.to {
                if request.hang {
                    std::future::pending::<()>().await;
                }
                entered.leave();
                ctx.set_trailer("counted", (next - request.from).to_string())?;
                return Ok(None);
            }
            if request.pause_micros > 0 {
                tokio::time::sleep(Duration::from_micros(request.pause_micros)).await;
            }
            sent.fetch_add(1, Ordering::SeqCst);
            Ok(Some((
                item(next, request.size),
                (ctx, next + 1, entered, sent),
            )))
        });
        Ok(items.take_until(until))
    }

    async fn sum(&self, ctx: Context, mut requests: Streaming<Item>) -> Result<Total, Status> {
        let mut entered = self.fates.enter();
        let stop = number(&ctx, "stop-after").unwrap_or(u64::MAX);
        let pause = number(&ctx, "pause-micros").map(Duration::from_micros);
        let mut total = Total::default();
        while total.count < stop
            && let Some(item) = requests.message().await?
        {
            total.add(&item);
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        entered.leave();
        ctx.set_trailer("summed", total.count.to_string())?;
        Ok(total)
    }

    async fn chat(
        &self,
        ctx: Context,
        requests: Streaming<Item>,
    ) -> Result<impl Stream<Item = Result<Item, Status>> + Send + 'static, Status> {
        let stop = number(&ctx, "stop-after").unwrap_or(u64::MAX);
        let pause = number(&ctx, "pause-micros").map(Duration::from_micros);
        let state = (requests, 0, self.fates.enter(), ctx);
        Ok(stream::try_unfold(
            state,
            move |(mut requests, count, mut entered, ctx)| async move {
                let next = if count < stop {
                    requests.message().await?
                } else {
                    None
                };
                let Some(item) = next else {
                    entered.leave();
                    ctx.set_trailer("echoed", count.to_string())?;
                    return Ok(None);
                };
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                Ok(Some((item, (requests, count + 1, entered, ctx))))
            },
        ))
    }
}

/// Returns the items between two numbers, which a caller can send.
pub fn items(from: u64, to: u64, size: u32) -> impl Stream<Item = Item> + Send + 'static {
    stream::iter(from..to).map(move |number| item(number, size))
}

/// Serves it on its own connection, with the defaults.
///
/// # Errors
/// Fails if connecting or starting fails.
pub async fn serve(url: &str, flows: &Flows) -> Result<Running, nmfw::Error> {
    let nats = nmfw::connect(url).await?;
    Server::new(nats)
        .add_service(StreamsServer::new(flows.clone()))
        .start()
        .await
}

/// Creates a client with its own connection.
///
/// # Errors
/// Fails if connecting fails.
pub async fn client(url: &str) -> Result<StreamsClient, nmfw::Error> {
    Ok(StreamsClient::new(Channel::new(nmfw::connect(url).await?)))
}
