//! The outcome of a call as its caller sees it.

use futures_util::StreamExt;
use nmfw::{Code, Metadata, MetadataValue, Status, Streaming, client::Call};
use nmfw_tests::streams::{Item, Total};

/// Everything that a caller sees, for comparison.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<Code>,
    pub(crate) message: String,
    pub(crate) is_not_started: bool,
    details: Vec<String>,
    /// The metadata of an answer or an error, in the order of the keys.
    metadata: Vec<String>,
    trailers: Vec<String>,
    pub(crate) items: Vec<String>,
}

fn sorted(metadata: &Metadata) -> Vec<String> {
    let mut all: Vec<_> = metadata
        .iter()
        .map(|(key, value)| match value {
            MetadataValue::Text(text) => format!("{key}: {text:?}"),
            MetadataValue::Binary(bytes) => format!("{key}: {bytes:?}"),
        })
        .collect();
    // Stable for the values of a key, whose order is kept.
    all.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    all
}

impl Outcome {
    pub(crate) fn failed(mut self, status: &Status) -> Self {
        self.code = Some(status.code());
        self.is_not_started = status.is_not_started();
        // The side whose clock is checked first words the error.
        if status.code() != Code::DeadlineExceeded || status.is_not_started() {
            status.message().clone_into(&mut self.message);
        }
        let details = status.details().iter();
        self.details = details.map(|detail| format!("{detail:?}")).collect();
        self.trailers = sorted(status.metadata());
        self
    }

    pub(crate) async fn of_item(call: Call<Item>) -> Self {
        match call.send_with_metadata().await {
            Ok((item, metadata)) => Self {
                metadata: sorted(&metadata),
                items: vec![String::from_utf8_lossy(&item.padding).into_owned()],
                ..Self::default()
            },
            Err(status) => Self::default().failed(&status),
        }
    }

    pub(crate) async fn of_total(call: Call<Total>) -> Self {
        match call.send_with_metadata().await {
            Ok((total, metadata)) => Self {
                metadata: sorted(&metadata),
                items: vec![format!("{total:?}")],
                ..Self::default()
            },
            Err(status) => Self::default().failed(&status),
        }
    }

    pub(crate) async fn of_stream(call: Call<Streaming<Item>>) -> Self {
        let mut outcome = Self::default();
        let mut items = match call.await {
            Ok(items) => items,
            Err(status) => return outcome.failed(&status),
        };
        outcome.metadata = sorted(items.metadata());
        while let Some(item) = items.next().await {
            match item {
                Ok(item) => outcome.items.push(item.number.to_string()),
                Err(status) => return outcome.failed(&status),
            }
        }
        outcome.trailers = sorted(items.trailers());
        outcome
    }
}
