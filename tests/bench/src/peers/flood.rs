//! Plain publish and subscribe, as fast as possible without loss. NATS drops messages that a
//! subscriber does not read in time, so the sender stays at most a window ahead, and the receiver
//! occasionally reports its progress.

use async_nats::{Client, PublishError, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::meter::Over;

/// Maximum number of bytes in flight, far less than nats-server buffers for a slow connection.
const WINDOW: usize = 4 * 1024 * 1024;

/// Maximum number of messages in flight, worth some milliseconds, so that many streams drain soon
/// after their end.
const WINDOW_MESSAGES: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Lost(String);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<PublishError> for Lost {
    fn from(error: PublishError) -> Self {
        Self(error.to_string())
    }
}

impl From<SubscribeError> for Lost {
    fn from(error: SubscribeError) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Lost {
    fn from(error: &str) -> Self {
        Self(error.to_owned())
    }
}

fn window(size: usize) -> usize {
    (WINDOW / size.max(1)).clamp(2, WINDOW_MESSAGES)
}

/// Answers each download request with messages to its reply subject. The first one is empty and
/// carries the subject for the receiver's reports.
pub(super) async fn serve_downloads(nats: Client, mut requests: Subscriber) {
    while let Some(request) = requests.next().await {
        let nats = nats.clone();
        tokio::spawn(async move {
            let text = String::from_utf8_lossy(&request.payload).into_owned();
            let (Some(to), Ok(size)) = (request.reply, text.parse()) else {
                return;
            };
            let body = Bytes::from(vec![7; size]);
            let credits = nats.new_inbox();
            if let Ok(mut said) = nats.subscribe(credits.clone()).await {
                let greeting = nats.publish_with_reply(to.clone(), credits, Bytes::new());
                if greeting.await.is_ok() {
                    // Ends at the receiver's request, or with the connection.
                    send(&nats, &to, &body, &mut said, || false).await.ok();
                }
            }
        });
    }
}

pub(super) async fn download(
    nats: &Client,
    subject: &'static str,
    size: usize,
    over: Over,
) -> Result<u64, Lost> {
    let inbox = nats.new_inbox();
    let mut messages = nats.subscribe(inbox.clone()).await?;
    nats.publish_with_reply(subject, inbox, size.to_string().into())
        .await?;
    let greeting = messages.next().await.ok_or("the connection is closed")?;
    let credits = greeting
        .reply
        .ok_or("no server answers download requests")?;
    receive(nats, &mut messages, &credits, size, || over.is_over()).await
}

/// Answers each upload request with an empty message that carries the subject to send to.
pub(super) async fn serve_uploads(nats: Client, mut requests: Subscriber) {
    while let Some(request) = requests.next().await {
        let nats = nats.clone();
        tokio::spawn(async move {
            let text = String::from_utf8_lossy(&request.payload).into_owned();
            let (Some(credits), Ok(size)) = (request.reply, text.parse()) else {
                return;
            };
            let inbox = nats.new_inbox();
            if let Ok(mut messages) = nats.subscribe(inbox.clone()).await {
                let greeting = nats.publish_with_reply(credits.clone(), inbox, Bytes::new());
                if greeting.await.is_ok() {
                    receive(&nats, &mut messages, &credits, size, || false)
                        .await
                        .ok();
                }
            }
        });
    }
}

pub(super) async fn upload(
    nats: &Client,
    subject: &'static str,
    body: Bytes,
    over: Over,
) -> Result<u64, Lost> {
    let inbox = nats.new_inbox();
    let mut said = nats.subscribe(inbox.clone()).await?;
    nats.publish_with_reply(subject, inbox, body.len().to_string().into())
        .await?;
    let greeting = said.next().await.ok_or("the connection is closed")?;
    let to = greeting.reply.ok_or("no server answers upload requests")?;
    send(nats, &to, &body, &mut said, || over.is_over()).await
}

/// Sends until it is over or the receiver has enough, and then marks the end. Returns the number of
/// messages.
async fn send(
    nats: &Client,
    to: &Subject,
    body: &Bytes,
    said: &mut Subscriber,
    over: impl Fn() -> bool,
) -> Result<u64, Lost> {
    let window = window(body.len()) as u64;
    let (mut sent, mut arrived) = (0, 0);
    let mut has_enough = false;
    while !over() && !has_enough {
        if sent - arrived < window {
            nats.publish(to.clone(), body.clone()).await?;
            sent += 1;
            continue;
        }
        let word = said.next().await.ok_or("the connection is closed")?;
        arrived += window / 2;
        has_enough = word.payload.is_empty();
    }
    nats.publish(to.clone(), Bytes::new()).await?;
    while !has_enough {
        let word = said.next().await.ok_or("the connection is closed")?;
        has_enough = word.payload.is_empty();
    }
    Ok(sent)
}

/// Receives until the sender marks the end, which is requested when the work is over. Returns the
/// number of messages.
async fn receive(
    nats: &Client,
    messages: &mut Subscriber,
    credits: &Subject,
    size: usize,
    over: impl Fn() -> bool,
) -> Result<u64, Lost> {
    let step = window(size) as u64 / 2;
    let mut count = 0;
    let mut has_enough = false;
    loop {
        let message = messages.next().await.ok_or("the connection is closed")?;
        if message.payload.is_empty() {
            break;
        }
        count += 1;
        if !has_enough && over() {
            has_enough = true;
            nats.publish(credits.clone(), Bytes::new()).await?;
        } else if !has_enough && count % step == 0 {
            nats.publish(credits.clone(), "more".into()).await?;
        }
    }
    if !has_enough {
        nats.publish(credits.clone(), Bytes::new()).await?;
    }
    Ok(count)
}
