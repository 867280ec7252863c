//! The inboxes of sessions.

use std::sync::Arc;

use super::Replies;
use crate::{Status, client::multiplexed::Mailbox};

/// What the inboxes of sessions begin with, behind the prefix of all.
pub(super) const SESSION: &str = "s.";

/// A session, whose packets arrive under `<prefix>s.`.
#[derive(Debug)]
pub(super) struct SessionEntry {
    pub(super) generation: u32,
    pub(super) mailbox: Arc<Mailbox>,
}

/// The inbox of a session, given up when dropped.
pub(crate) struct SessionInbox {
    replies: Arc<Replies>,
    slot: usize,
    generation: u32,
}

impl SessionInbox {
    pub(crate) fn register(replies: Arc<Replies>, mailbox: Arc<Mailbox>) -> Result<Self, Status> {
        let (slot, generation) = {
            let mut calls = replies.shared.calls();
            if let Some(status) = &calls.dead {
                return Err(status.clone());
            }
            calls.generation = calls.generation.wrapping_add(1);
            let generation = calls.generation;
            let slot = calls.sessions.insert(SessionEntry {
                generation,
                mailbox,
            });
            (slot, generation)
        };
        Ok(Self {
            replies,
            slot,
            generation,
        })
    }

    pub(crate) fn subject(&self) -> String {
        let id = u64::from(self.generation) << 32 | self.slot as u64;
        format!("{}{SESSION}{id:x}", self.replies.shared.prefix)
    }
}

impl Drop for SessionInbox {
    fn drop(&mut self) {
        self.replies.shared.calls().sessions.remove(self.slot);
    }
}
