//! Signals, and the guarantee that the process ends.
//!
//! Signals are handled on a separate thread, because a handler that blocks its thread can keep
//! tokio from processing anything, including signals and timers.

use std::{io, thread, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

use super::exit::{EXIT_FORCED, EXIT_GRACE_ENDED};
use crate::{Shutdown, nats::server::DEFAULT_GRACE, shutdown_signal};

/// Time limit for communication with the NATS server beyond the grace period.
const MAX_DRAIN: Duration = Duration::from_secs(30);

/// Time limit for that communication after a forced stop.
const MAX_FORCED: Duration = Duration::from_secs(10);

/// How long a program may continue after handlers were dropped. Handlers that block their threads
/// cannot be dropped, and tokio waits for them.
const MAX_UNWIND: Duration = Duration::from_secs(5);

/// The signal listener, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Signals {
    messages: UnboundedSender<Message>,
}

/// A message to the listener.
#[derive(Debug)]
enum Message {
    Grace(Duration),
    /// The process should have ended by now.
    Over(u8),
}

impl Signals {
    /// Starts listening, and returns a stream with an item per signal.
    pub(super) fn listen() -> io::Result<(Self, BoxStream<'static, ()>)> {
        let (sender, messages) = unbounded_channel();
        let (signal, mut signals) = unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let from_process = {
            let _runtime = runtime.enter();
            shutdown_signal().requests()
        };
        thread::Builder::new()
            .name("nmfw-signals".to_owned())
            .spawn(move || runtime.block_on(listen(from_process, signal, messages)))?;
        let signals = stream::poll_fn(move |cx| signals.poll_recv(cx));
        Ok((Self { messages: sender }, signals.boxed()))
    }

    /// Sets how long handlers may continue after the first signal.
    pub(super) fn grace(&self, grace: Duration) {
        // The thread lives as long as this.
        _ = self.messages.send(Message::Grace(grace));
    }

    /// Requests the end of the process, because the remaining handlers cannot be ended in any other
    /// way.
    pub(super) fn over(self, status: u8) {
        _ = self.messages.send(Message::Over(status));
    }
}

async fn listen(
    mut signals: BoxStream<'static, ()>,
    signal: UnboundedSender<()>,
    mut messages: UnboundedReceiver<Message>,
) {
    let mut grace = DEFAULT_GRACE;
    let mut count = 0;
    // When to end the process if it still runs, and with which status.
    let mut end: Option<(Instant, u8)> = None;
    let mut is_over = false;
    loop {
        let time_is_up = async {
            match end {
                Some((at, status)) => {
                    tokio::time::sleep_until(at).await;
                    status
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = signals.next() => {
                count += 1;
                let now = Instant::now();
                end = match count {
                    1 if !is_over => now
                        .checked_add(grace.saturating_add(MAX_DRAIN))
                        .map(|at| (at, EXIT_GRACE_ENDED)),
                    2 if !is_over => Some((now + MAX_FORCED, EXIT_FORCED)),
                    _ => leave(EXIT_FORCED, "received a third signal: ending the process at once"),
                };
                // Fails if the server has ended.
                _ = signal.send(());
            }
            message = messages.recv(), if !is_over => match message {
                Some(Message::Grace(of_server)) => grace = of_server,
                Some(Message::Over(status)) => {
                    is_over = true;
                    end = Some((Instant::now() + MAX_UNWIND, status));
                }
                None => return,
            },
            status = time_is_up => leave(status, "a handler blocks its thread: ending the process"),
        }
    }
}

fn leave(status: u8, why: &str) -> ! {
    tracing::error!(status, "{why}");
    std::process::exit(status.into())
}
