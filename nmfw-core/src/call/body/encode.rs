//! `encode`: converts a stream of messages to the chunks of a session.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::Stream;
use prost::Message;

use super::chunk::{Chunk, RowWriter};
use crate::Status;

/// A row is closed at this size, so that it fits into a packet with one more message.
const ROW: usize = 60 * 1024;

/// Messages from this size do not benefit from rows.
const LARGE: usize = 4 * 1024;

/// A row that has been filling for this long is sent without waiting for further messages.
pub const MAX_WAIT: Duration = Duration::from_micros(200);

/// Number of messages between checks of the clock.
const LOOK_EVERY: usize = 64;

/// Encodes messages. Small messages that are ready at the same time become rows; no message waits
/// for another.
pub(crate) fn encode<T: Message>(
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> impl Stream<Item = Result<Chunk, Status>> + Send + 'static {
    Encode {
        messages: Box::pin(messages),
        row: RowWriter::default(),
        next: None,
    }
}

struct Encode<S> {
    messages: Pin<Box<S>>,
    row: RowWriter,
    /// An item that was read while the row was filled, but is sent after it.
    next: Option<AfterRow>,
}

/// An item after a row.
enum AfterRow {
    Item(Option<Result<Chunk, Status>>),
    /// A panic of the user's stream, resumed after the preceding messages were sent.
    Panic(Box<dyn Any + Send>),
}

/// The reason for closing a row.
enum Close {
    Full,
    Pending,
    Next(AfterRow),
}

impl<T: Message, S: Stream<Item = Result<T, Status>>> Encode<S> {
    /// Adds ready messages to the row.
    fn fill(&mut self, cx: &mut Context<'_>) -> Close {
        let mut began = None;
        loop {
            let Poll::Ready(item) = self.messages.as_mut().poll_next(cx) else {
                return Close::Pending;
            };
            let message = match item {
                Some(Ok(message)) => message,
                Some(Err(status)) => return Close::Next(AfterRow::Item(Some(Err(status)))),
                None => return Close::Next(AfterRow::Item(None)),
            };
            let len = message.encoded_len();
            if len >= LARGE {
                let message = Chunk::Message(message.encode_to_vec().into());
                return Close::Next(AfterRow::Item(Some(Ok(message))));
            }
            self.row.push(&message, len);
            let mut is_late = || began.get_or_insert_with(Instant::now).elapsed() > MAX_WAIT;
            // The clock is not read for each message, because that takes as long as encoding a
            // small one.
            let messages = self.row.messages();
            let is_time_to_look = messages.is_power_of_two() || messages.is_multiple_of(LOOK_EVERY);
            if self.row.len() >= ROW || (is_time_to_look && is_late()) {
                return Close::Full;
            }
        }
    }
}

impl<T: Message, S: Stream<Item = Result<T, Status>>> Stream for Encode<S> {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = match this.next.take() {
            Some(next) => next,
            None => {
                let filled = catch_unwind(AssertUnwindSafe(|| this.fill(cx)));
                let close = filled.unwrap_or_else(|panic| Close::Next(AfterRow::Panic(panic)));
                match (this.row.take(), close) {
                    (Some(row), Close::Next(next)) => {
                        this.next = Some(next);
                        return Poll::Ready(Some(Ok(row)));
                    }
                    (Some(row), _) => return Poll::Ready(Some(Ok(row))),
                    (None, Close::Next(next)) => next,
                    (None, Close::Full | Close::Pending) => return Poll::Pending,
                }
            }
        };
        match next {
            AfterRow::Item(item) => Poll::Ready(item),
            AfterRow::Panic(panic) => resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::Streaming;

    async fn tallies(
        messages: impl Stream<Item = Result<Vec<u8>, Status>> + Send + 'static,
    ) -> Vec<Result<usize, String>> {
        encode(messages)
            .map(|chunk| match chunk {
                Ok(chunk) => Ok(chunk.tally().messages),
                Err(status) => Err(status.message().to_owned()),
            })
            .collect()
            .await
    }

    #[tokio::test]
    async fn small_messages_go_in_rows_and_large_ones_by_themselves() {
        let message = |len| Ok(vec![7; len]);
        let messages = [
            message(5),
            message(0),
            message(LARGE),
            message(1),
            message(2),
            Err(Status::aborted("no more")),
        ];
        let tallies = tallies(stream::iter(messages)).await;
        assert_eq!(tallies, [Ok(2), Ok(1), Ok(2), Err("no more".to_owned())]);
    }

    #[tokio::test]
    async fn rows_are_bounded() {
        let messages = stream::iter((0..).map(|_| Ok(vec![7_u8; 1000]))).take(200);
        let tallies = tallies(messages).await;
        let most = ROW / 1000 + 1;
        assert!(
            tallies
                .iter()
                .all(|row| matches!(row, Ok(messages) if *messages <= most))
        );
        assert_eq!(tallies.into_iter().flatten().sum::<usize>(), 200);
    }

    #[tokio::test]
    async fn nothing_waits_for_what_is_not_there() {
        let (sender, messages) = Streaming::<Vec<u8>>::channel(8);
        let mut chunks = encode(messages);
        for messages in [1, 3] {
            for _ in 0..messages {
                sender.send(vec![1]).await.unwrap();
            }
            let mut come = 0;
            while come < messages {
                come += chunks.next().await.unwrap().unwrap().tally().messages;
            }
            assert_eq!(come, messages);
        }
    }

    /// A handler that computes for long per message, and never waits, still sends message by
    /// message.
    #[tokio::test]
    async fn slow_streams_send_each_message_at_once() {
        let slow = stream::iter((0..4_u8).map(|i| {
            let until = Instant::now() + 2 * MAX_WAIT;
            while Instant::now() < until {}
            Ok(vec![i])
        }));
        // The clock starts with the first message.
        let rows = tallies(slow).await;
        assert!(rows.iter().all(|row| matches!(row, Ok(1 | 2))), "{rows:?}");
    }
}
