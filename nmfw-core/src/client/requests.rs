//! [`Requests`]: the messages that a caller sends.

use futures_util::{Stream, StreamExt};

use crate::{Status, Streaming};

/// The messages of a caller that streams: every [`Stream`] of them that can be sent to another
/// thread, and so [`Streaming`] too; also of results, where an error gives the call up and is what
/// comes of it.
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
/// let (sender, receiver) = tokio::sync::mpsc::channel::<String>(8);
/// takes(Streaming::from(receiver)); // what is sent to it, until it is dropped
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

    /// A message, or a result with one.
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
