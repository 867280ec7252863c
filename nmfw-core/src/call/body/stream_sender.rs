//! [`StreamSender`]: sends the messages of a [`Streaming`] from another task.

use std::fmt;

use futures_util::stream;
use tokio::sync::mpsc;

use crate::{Status, Streaming};

/// Sends messages to a [`Streaming`]: see [`Streaming::channel`].
///
/// The stream ends when all clones of its sender are dropped.
pub struct StreamSender<T>(mpsc::Sender<Result<T, Status>>);

impl<T> StreamSender<T> {
    /// Sends a message. Waits for room in the buffer, which is the back-pressure of the receiver.
    ///
    /// # Errors
    /// Fails with `CANCELLED` if the stream was dropped or has ended.
    pub async fn send(&self, message: T) -> Result<(), Status> {
        let sent = self.0.send(Ok(message)).await;
        sent.map_err(|_| Status::cancelled("the receiver of the stream is gone"))
    }

    /// Ends the stream with an error after the messages that were already sent. Messages of other
    /// clones of the sender are dropped from then on.
    pub async fn fail(self, status: Status) {
        // Fails if the stream was dropped, which nothing reads.
        _ = self.0.send(Err(status)).await;
    }

    /// Waits until the stream was dropped or has ended.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Returns whether the stream was dropped or has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T: Send + 'static> Streaming<T> {
    /// Creates a stream with a sender, whose buffer holds `capacity` messages, at least one: for
    /// messages that another task produces.
    ///
    /// ```
    /// use nmfw::Streaming;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let (sender, mut numbers) = Streaming::channel(8);
    /// tokio::spawn(async move {
    ///     for number in 1..=3 {
    ///         sender.send(number).await?;
    ///     }
    ///     Ok::<_, nmfw::Status>(())
    /// });
    /// let mut sum = 0;
    /// while let Some(number) = numbers.message().await? {
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok::<_, nmfw::Status>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn channel(capacity: usize) -> (StreamSender<T>, Self) {
        let capacity = capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (sender, mut receiver) = mpsc::channel(capacity);
        let items = stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (StreamSender(sender), Self::new(items))
    }
}

impl<T> Clone for StreamSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[tokio::test]
    async fn an_error_ends_the_stream_after_its_messages() {
        let (sender, mut stream) = Streaming::channel(0);
        let other = sender.clone();
        let sending = tokio::spawn(async move {
            sender.send(1).await.unwrap();
            sender.fail(Status::data_loss("broken")).await;
            other.closed().await;
            other.send(2).await.unwrap_err()
        });
        assert_eq!(stream.message().await.unwrap(), Some(1));
        assert_eq!(stream.message().await.unwrap_err().code(), Code::DataLoss);
        assert_eq!(sending.await.unwrap().code(), Code::Cancelled);
        assert_eq!(stream.message().await.unwrap(), None);
    }
}
