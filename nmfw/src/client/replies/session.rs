//! The inboxes of sessions.

use std::sync::Arc;

use super::Replies;
use crate::{Status, client::multiplexed::Mailbox, session::Secret};

/// What the inboxes of sessions begin with, behind the prefix of all.
pub(super) const SESSION: &str = "s.";

/// A session, whose packets arrive under `<prefix>s.`.
#[derive(Debug)]
pub(super) struct SessionEntry {
    pub(super) mailbox: Arc<Mailbox>,
}

/// The inbox of a session, given up when dropped.
pub(crate) struct SessionInbox {
    replies: Arc<Replies>,
    /// Never that of another session.
    number: u64,
}

impl SessionInbox {
    pub(crate) fn register(replies: Arc<Replies>, mailbox: Arc<Mailbox>) -> Result<Self, Status> {
        let number = {
            let mut calls = replies.shared.calls();
            if let Some(status) = &calls.dead {
                return Err(status.clone());
            }
            calls.last_session += 1;
            let number = calls.last_session;
            calls.sessions.insert(number, SessionEntry { mailbox });
            number
        };
        Ok(Self { replies, number })
    }

    pub(crate) fn subject(&self) -> String {
        format!("{}{SESSION}{:x}", self.replies.shared.prefix, self.number)
    }

    /// The secret of the session.
    pub(crate) fn secret(&self) -> Secret {
        self.replies.shared.secrets.of(self.number)
    }
}

impl Drop for SessionInbox {
    fn drop(&mut self) {
        self.replies.shared.calls().sessions.remove(&self.number);
    }
}
