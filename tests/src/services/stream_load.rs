//! Streams of every kind that run until they are stopped, and check their messages.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use nmfw::{Code, Status};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    eventually,
    streams::{CountRequest, Item, StreamsClient, Total, item},
};

/// Longer than any call may take.
const LONG: Duration = Duration::from_secs(600);

/// Number of items of a call of `Count`.
const COUNTED: u64 = 5_000;
const SIZE: u32 = 1_000;

/// A stream makes progress when it has moved more items than can be buffered on the way, which is a
/// few times the window of a stream.
const STEP: u64 = 1_000;

/// The deadline of a call with one message each way. A call made while there is no session uses
/// base mode, where a lost message is not sent again.
const SHORT: Duration = Duration::from_secs(3);

/// Number of callers of unary calls beside each set of streams.
const CALLERS: u64 = 8;

/// Running streams.
#[derive(Debug)]
pub struct StreamLoad {
    over: watch::Sender<bool>,
    moved: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<Result<(), String>>,
    calls: Arc<AtomicU64>,
    late: Arc<AtomicU64>,
}

impl StreamLoad {
    /// Starts `of_each` streams of each kind. The client's channel should be multiplexed.
    #[must_use]
    pub fn start(client: &StreamsClient, of_each: usize) -> Self {
        let mut load = Self {
            over: watch::Sender::new(false),
            moved: Vec::new(),
            tasks: JoinSet::new(),
            calls: Arc::default(),
            late: Arc::default(),
        };
        for _ in 0..of_each {
            load.count(client.clone());
            load.sum(client.clone());
            load.chat(client.clone());
            for caller in 0..CALLERS {
                load.echo(client.clone(), caller);
            }
        }
        load
    }

    fn moved(&mut self) -> Arc<AtomicU64> {
        let moved = Arc::new(AtomicU64::new(0));
        self.moved.push(Arc::clone(&moved));
        moved
    }

    /// Runs one stream of responses after the other.
    fn count(&mut self, client: StreamsClient) {
        let (moved, over) = (self.moved(), self.over.subscribe());
        self.tasks.spawn(async move {
            let request = CountRequest {
                to: COUNTED,
                size: SIZE,
                ..CountRequest::default()
            };
            let expected = (0..COUNTED).map(|number| item(number, SIZE));
            let expected = expected.fold(Total::default(), |total, item| total.with(&item));
            while !*over.borrow() {
                let mut items = match client.count(request).timeout(LONG).await {
                    Ok(items) => items,
                    Err(status) => {
                        found_nobody("Count", &status)?;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
                let mut total = Total::default();
                while let Some(item) = items.message().await.map_err(broken("Count"))? {
                    total.add(&item);
                    moved.fetch_add(1, Ordering::Relaxed);
                    pace(item.number, &over).await;
                }
                if total != expected {
                    return Err(format!("Count returned {total:?} instead of {expected:?}"));
                }
            }
            Ok(())
        });
    }

    fn sum(&mut self, client: StreamsClient) {
        let (moved, over) = (self.moved(), self.over.subscribe());
        self.tasks.spawn(async move {
            let (items, sent) = endless(over, Some(moved));
            let call = client.sum(items).timeout(LONG);
            let total = call.await.map_err(broken("Sum"))?;
            let sent = *sent.lock().map_err(|error| error.to_string())?;
            if total == sent {
                Ok(())
            } else {
                Err(format!("Sum received {total:?} instead of {sent:?}"))
            }
        });
    }

    fn chat(&mut self, client: StreamsClient) {
        let (moved, over) = (self.moved(), self.over.subscribe());
        self.tasks.spawn(async move {
            let (items, sent) = endless(over, None);
            let call = client.chat(items).timeout(LONG);
            let mut answers = call.await.map_err(broken("Chat"))?;
            let mut total = Total::default();
            while let Some(item) = answers.message().await.map_err(broken("Chat"))? {
                total.add(&item);
                moved.fetch_add(1, Ordering::Relaxed);
            }
            let sent = *sent.lock().map_err(|error| error.to_string())?;
            if total == sent {
                Ok(())
            } else {
                Err(format!("Chat returned {total:?} of {sent:?}"))
            }
        });
    }

    fn echo(&mut self, client: StreamsClient, caller: u64) {
        let (calls, late) = (Arc::clone(&self.calls), Arc::clone(&self.late));
        let over = self.over.subscribe();
        self.tasks.spawn(async move {
            let mut number = caller << 32;
            while !*over.borrow() {
                let sent = item(number, 50);
                match client.echo(sent.clone()).timeout(SHORT).await {
                    Ok(echo) if echo == sent => _ = calls.fetch_add(1, Ordering::Relaxed),
                    Ok(echo) => return Err(format!("Echo returned {echo:?} instead of {sent:?}")),
                    Err(status) if status.code() == Code::DeadlineExceeded => {
                        late.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        found_nobody("Echo", &status)?;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                number += 1;
            }
            Ok(())
        });
    }

    /// Waits until every stream has made progress, and calls have been answered.
    ///
    /// # Panics
    ///
    /// Panics after `limit`, or if a stream failed.
    pub async fn goes_on(&mut self, limit: Duration) {
        let now = |moved: &Arc<AtomicU64>| moved.load(Ordering::Relaxed);
        let before: Vec<_> = self.moved.iter().map(now).collect();
        let calls_before = self.calls.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        eventually(limit, || {
            while let Some(outcome) = self.tasks.try_join_next() {
                failures.extend(outcome.map_err(|error| error.to_string()).flatten().err());
            }
            let moved = self.moved.iter().zip(&before).map(|(m, b)| now(m) - b);
            let calls = self.calls.load(Ordering::Relaxed) - calls_before;
            let slowest = moved.min().unwrap_or(STEP);
            let outcome = if !failures.is_empty() || (slowest >= STEP && calls > CALLERS) {
                Ok(())
            } else {
                Err(format!(
                    "the slowest stream has moved {slowest} items, with {calls} calls"
                ))
            };
            async { outcome }
        })
        .await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// Lets all streams complete, and checks their messages.
    ///
    /// # Panics
    ///
    /// Panics after `limit`, or if a stream failed or had wrong messages.
    pub async fn finish(self, limit: Duration) {
        let (calls, late) = (self.calls, self.late);
        self.over.send_replace(true);
        let outcomes = timeout(limit, self.tasks.join_all()).await;
        let Ok(outcomes) = outcomes else {
            panic!("a stream did not end within {limit:?}");
        };
        let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(failures.is_empty(), "{failures:?}");
        let [calls, late] = [calls, late].map(|count| count.load(Ordering::Relaxed));
        assert!(
            late * 10 <= calls,
            "{late} calls were lost, {calls} succeeded"
        );
    }
}

impl Total {
    fn with(mut self, item: &Item) -> Self {
        self.add(item);
        self
    }
}

/// Returns items until `over` is set, and their total.
fn endless(
    over: watch::Receiver<bool>,
    moved: Option<Arc<AtomicU64>>,
) -> (impl Stream<Item = Item> + Send + 'static, Arc<Mutex<Total>>) {
    let sent = Arc::new(Mutex::new(Total::default()));
    let total = Arc::clone(&sent);
    let items = stream::unfold((0, over), |(number, over)| async move {
        pace(number, &over).await;
        let size = u32::try_from(number * 7919 % 2_000).ok()?;
        let is_over = *over.borrow();
        (!is_over).then(|| (item(number, size), (number + 1, over)))
    });
    let items = items.inspect(move |item| {
        if let Ok(mut total) = total.lock() {
            total.add(item);
        }
        if let Some(moved) = &moved {
            moved.fetch_add(1, Ordering::Relaxed);
        }
    });
    (items, sent)
}

/// Pauses after every tenth item, unless `over` is set.
async fn pace(number: u64, over: &watch::Receiver<bool>) {
    if number % 10 == 9 && !*over.borrow() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Accepts the errors of calls that begin before the service is back.
fn found_nobody(method: &str, status: &Status) -> Result<(), String> {
    if status.code() == Code::Unavailable && status.is_not_started() {
        Ok(())
    } else {
        Err(format!("{method}: {status:?}"))
    }
}

fn broken(method: &'static str) -> impl Fn(Status) -> String {
    move |status| format!("{method}: {status:?}")
}
