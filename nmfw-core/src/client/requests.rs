//! [`Requests`]: the messages of a streaming caller.

use futures_util::{Stream, StreamExt};

use crate::{Status, Streaming};

/// The messages of a streaming caller: any `Send` [`Stream`] of messages, including [`Streaming`].
/// Streams of results are accepted too; an error cancels the call and becomes its result.
///
/// ```
/// use futures_util::stream;
/// use nmfw::{Status, Streaming, client::Requests};
///
/// fn takes(_: impl Requests<String>) {}
///
/// takes(stream::iter(["a".to_owned(), "b".to_owned()]));
/// takes(stream::iter([Ok("a".to_owned()), Err(Status::data_loss("the file is broken"))]));
/// takes(Streaming::from(vec!["a".to_owned()]));
///
/// let (sender, requests) = Streaming::<String>::channel(8);
/// takes(requests); // messages from the sender, until it is dropped
/// # drop(sender);
/// ```
pub trait Requests<T>: sealed::Sealed<T> {
    #[doc(hidden)]
    fn into_streaming(self) -> Streaming<T>;
}

impl<T, S> Requests<T> for S
where
    T: 'static,
    S: Stream + Send + 'static,
    S::Item: sealed::Item<T>,
{
    fn into_streaming(self) -> Streaming<T> {
        Streaming::new(self.map(sealed::Item::into_result))
    }
}

mod sealed {
    use super::{Status, Stream};

    pub trait Sealed<T> {}

    impl<T: 'static, S: Stream<Item: Item<T>> + Send + 'static> Sealed<T> for S {}

    /// A message, or a result with a message.
    pub trait Item<T> {
        fn into_result(self) -> Result<T, Status>;
    }

    impl<T> Item<T> for T {
        fn into_result(self) -> Result<T, Status> {
            Ok(self)
        }
    }

    impl<T> Item<T> for Result<T, Status> {
        fn into_result(self) -> Self {
            self
        }
    }
}
