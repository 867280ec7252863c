//! [`Waiting`]: a call of base mode that waits for its reply.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use tokio::sync::oneshot;

use super::{Outcome, PendingCall, Replies, end_denied};
use crate::{Deadline, Status};

/// A call that waits for its reply. Dropping it releases its slot.
pub(crate) struct Waiting {
    replies: Arc<Replies>,
    slot: usize,
    generation: u32,
    receiver: oneshot::Receiver<Outcome>,
}

impl Waiting {
    /// Registers a call before its request of `size` bytes is sent, until the deadline. `grace` is
    /// how long the connection may be lost meanwhile.
    pub(crate) fn register(
        replies: Arc<Replies>,
        subject: &Subject,
        size: usize,
        deadline: Deadline,
        grace: Duration,
    ) -> Result<Self, Status> {
        let (sender, receiver) = oneshot::channel();
        // Read before the request is sent: the request belongs to this epoch or a later one, and
        // then ends too early rather than never.
        let epoch = replies.shared.state.borrow().epoch;
        let mut is_earlier = false;
        let (slot, generation) = {
            let mut calls = replies.shared.calls();
            if let Some(status) = &calls.dead {
                // Not started: the request is not sent.
                return Err(status.clone().not_started());
            }
            if let Some(end) = deadline.timer_instant()
                && calls.timer.is_none_or(|timer| end < timer)
            {
                calls.timer = Some(end);
                is_earlier = true;
            }
            calls.generation = calls.generation.wrapping_add(1);
            let generation = calls.generation;
            let slot = calls.waiting.insert(PendingCall {
                generation,
                subject: subject.clone(),
                size,
                deadline,
                grace,
                epoch,
                grace_end: None,
                captured_by: None,
                sender,
            });
            (slot, generation)
        };
        if is_earlier {
            replies.shared.earlier.notify_one();
        }
        Ok(Self {
            replies,
            slot,
            generation,
            receiver,
        })
    }

    /// Returns the reply subject of the request.
    pub(crate) fn inbox(&self) -> String {
        let id = u64::from(self.generation) << 32 | self.slot as u64;
        let prefix = &self.replies.shared.prefix;
        let mut inbox = String::with_capacity(prefix.len() + 16);
        inbox.push_str(prefix);
        // Formatted by hand, because each request has one, and `format!` is too slow.
        let digits = 16 - (id | 1).leading_zeros() / 4;
        for place in (0..digits).rev() {
            let digit = (id >> (4 * place) & 0xf) as u8;
            inbox.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        inbox
    }

    /// Waits for the reply; returns `None` if there is none before the deadline.
    pub(crate) async fn reply(mut self) -> Outcome {
        match (&mut self.receiver).await {
            Ok(reply) => reply,
            Err(_) => Err(Status::unavailable("the connection to NATS is closed")),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let denied = {
            let mut calls = self.replies.shared.calls();
            let ours = calls.waiting.get(self.slot);
            if ours.is_none_or(|entry| entry.generation != self.generation) {
                return;
            }
            calls.waiting.remove(self.slot);
            calls.take_denied()
        };
        end_denied(denied);
    }
}
