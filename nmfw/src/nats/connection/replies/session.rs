//! The inboxes of sessions.

use std::sync::Arc;

use async_nats::Message;

use super::{Replies, Shared};
use crate::{
    Status,
    nats::{
        reply_subject,
        session::{
            client::Mailbox,
            protocol::{SessionSecret, answer_of_client},
        },
    },
};

/// Prefix of the inboxes of sessions, after the common prefix.
pub(crate) const SESSION: &str = "s.";

impl Shared {
    /// Notifies a service that continues an ended session of this client. Packets of other senders
    /// are not answered: a packet proves that it comes from the service, because the secret can be
    /// derived again.
    pub(crate) fn answer(&self, number: Option<u64>, message: Message) {
        let is_ours = |number: &u64| (1..=self.calls().last_session).contains(number);
        let (Some(number), Some(service)) = (number.filter(is_ours), message.reply) else {
            return;
        };
        let secret = self.secrets.of(number);
        if let Some(answer) = answer_of_client(secret, &message.payload)
            && reply_subject::admits_session("a packet of an ended session", &service)
        {
            log_limited!(debug, subject = %message.subject, "a packet of an ended session");
            self.answers.send(&self.client, service, answer);
        }
    }
}

/// A session, whose packets arrive below `<prefix>s.`.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    /// The epoch in which it was registered.
    pub(crate) epoch: u64,
    pub(crate) mailbox: Arc<Mailbox>,
}

/// The inbox of a session, released when dropped.
pub(crate) struct SessionInbox {
    replies: Arc<Replies>,
    /// Never reused.
    number: u64,
    epoch: u64,
}

impl SessionInbox {
    pub(crate) fn register(replies: Arc<Replies>, mailbox: Arc<Mailbox>) -> Result<Self, Status> {
        // Read first, so that any later reconnect is reported.
        let epoch = replies.shared.state.borrow().epoch;
        let number = {
            let mut calls = replies.shared.calls();
            if let Some(status) = &calls.dead {
                return Err(status.clone());
            }
            calls.last_session += 1;
            let number = calls.last_session;
            calls
                .sessions
                .insert(number, SessionEntry { epoch, mailbox });
            number
        };
        Ok(Self {
            replies,
            number,
            epoch,
        })
    }

    pub(crate) fn subject(&self) -> String {
        format!("{}{SESSION}{:x}", self.replies.shared.prefix, self.number)
    }

    /// Returns the epoch after which reconnects are reported to the session.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the secret of the session.
    pub(crate) fn secret(&self) -> SessionSecret {
        self.replies.shared.secrets.of(self.number)
    }
}

impl Drop for SessionInbox {
    fn drop(&mut self) {
        self.replies.shared.calls().sessions.remove(&self.number);
    }
}
