//! Connection events that end calls.

use super::{PendingCall, Shared, parse_id};
use crate::{ConnectionEvent, Status, nats::connection::server_message::is_token_limit};

impl Shared {
    /// Ends the calls and sessions that an event concerns.
    pub(crate) fn on_event(&self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::PublishDenied { subject } => {
                self.publish_denied(subject);
                self.each_session(|session| {
                    let status = denied(&format!("publish to {subject}"));
                    session.mailbox.denied(subject, status);
                });
            }
            ConnectionEvent::ReplyDenied { reply } => {
                let id = reply.strip_prefix(&self.prefix).and_then(parse_id);
                self.fail(
                    |slot, entry| id == Some((slot, entry.generation)),
                    // Not started: the reply subject identifies the call, and the NATS server does
                    // not deliver a request that it has denied.
                    |_| denied(&format!("use the reply subject {reply}")).not_started(),
                );
            }
            ConnectionEvent::SubscribeDenied { subject, error, .. }
                if subject.strip_suffix('>') == Some(&self.prefix) =>
            {
                let status = if is_token_limit(error) {
                    Status::resource_exhausted(format!(
                        "the NATS server refuses the subscription for replies, {subject}, with \
                         {error:?}: raise max_sub_tokens of the NATS server, or set a shorter \
                         inbox prefix"
                    ))
                } else {
                    denied(&format!(
                        "subscribe to {subject} for replies: allow it, or set another inbox prefix"
                    ))
                };
                self.fail_all_from_now_on(&status);
            }
            ConnectionEvent::PayloadTooLarge { error } => {
                self.payload_too_large(error);
                // The sessions would resend the same packet repeatedly. Later sessions use smaller
                // packets.
                self.each_session(|session| {
                    let text = format!("the NATS server closed the connection with {error:?}");
                    session.mailbox.fail(Status::unavailable(text));
                });
            }
            _ => {}
        }
    }

    /// Counts a denied publish, and ends the calls that are known to be denied.
    fn publish_denied(&self, subject: &str) {
        let denied = {
            let mut calls = self.calls();
            let newest = calls.generation;
            calls.denials.add(subject, newest);
            calls.take_denied()
        };
        end_denied(denied);
    }

    /// Ends the largest request in flight, because the server found one too large and closed the
    /// connection. It may have been another one, so it is not marked as not started.
    fn payload_too_large(&self, words: &str) {
        let largest = {
            let calls = self.calls();
            let largest = calls.waiting.iter().max_by_key(|(_, entry)| entry.size);
            largest.map(|(slot, entry)| (slot, entry.generation))
        };
        self.fail(
            |slot, entry| largest == Some((slot, entry.generation)),
            |entry| {
                Status::resource_exhausted(format!(
                    "the NATS server closed the connection with {words:?}: the request of {} bytes \
                     to {} was the largest one in flight; the limit of the account or the user is \
                     lower than the max_payload that the server announces",
                    entry.size, entry.subject
                ))
            },
        );
    }
}

/// Ends calls whose requests the NATS server has denied.
///
/// The calls are not marked as not started: a denial names the subject, not the message, so the
/// denied call may be a cancelled one, and one of these calls may have been delivered.
pub(crate) fn end_denied(entries: Vec<PendingCall>) {
    for entry in entries {
        let status = denied(&format!("publish to {}", entry.subject));
        _ = entry.sender.send(Err(status));
    }
}

fn denied(what: &str) -> Status {
    Status::permission_denied(format!(
        "the NATS server does not allow this connection to {what}"
    ))
}
