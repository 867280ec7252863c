//! Calls that make no progress: calls whose messages do not arrive, and streams whose callers do
//! not read.

use std::time::{Duration, Instant};

use super::calls::{Arrived, ServerCall, ServerCalls};
use crate::{
    Status,
    nats::session::{
        driver::{self, SessionHalf},
        protocol::{Session, StreamId},
    },
};
use nmfw_core::service::stalled::Stall;

/// How long a call without a deadline waits for its message.
const MAX_ARRIVAL: Duration = Duration::from_secs(60);

/// Interval of checks whether callers read pending answers.
const LOOK: Duration = Duration::from_secs(2);

/// A call that waits for its message.
pub(crate) struct Arriving {
    pub(crate) call: Arrived,
    until: Instant,
}

impl ServerCalls {
    /// Handles everything that is due.
    pub(crate) fn see_to_overdue(&mut self, session: &mut Session, now: Instant) {
        if self.arriving_until.is_some_and(|until| until <= now) {
            self.end_late(session, now);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(session, now);
        }
    }

    /// Adds a call to the calls that wait for their messages.
    pub(crate) fn wait_for_message(&mut self, stream: StreamId, call: Arrived) {
        let until = match call.deadline.instant() {
            Some(deadline) => deadline,
            None => driver::now() + MAX_ARRIVAL,
        };
        let first = self.arriving_until.map_or(until, |first| first.min(until));
        self.arriving_until = Some(first);
        let arriving = Box::new(Arriving { call, until });
        self.calls.insert(stream, ServerCall::Arriving(arriving));
    }

    /// Ends calls whose messages have not arrived in time.
    fn end_late(&mut self, session: &mut Session, now: Instant) {
        self.arriving_until = None;
        let mut late = Vec::new();
        for (stream, call) in self.calls.iter() {
            if let ServerCall::Arriving(arriving) = call {
                let Arriving { call, until } = &**arriving;
                if *until <= now {
                    late.push((stream, call.index, call.deadline));
                } else {
                    let first = self
                        .arriving_until
                        .map_or(*until, |first| first.min(*until));
                    self.arriving_until = Some(first);
                }
            }
        }
        for (stream, index, deadline) in late {
            self.calls.remove(stream);
            let text = match deadline.instant() {
                Some(_) => "the deadline passed before the whole request had arrived".to_owned(),
                None => format!("the request did not arrive within {MAX_ARRIVAL:?}"),
            };
            // Not started: a handler of a single message begins with that message.
            let status = Status::deadline_exceeded(text).not_started();
            if let Some(served) = self.common.served.get(index) {
                served.endpoint.refuse(&status);
            }
            session.send_status(stream, Err(&status));
        }
    }

    /// Schedules a check if answers are pending.
    pub(crate) fn expect_taking(&mut self, stream: StreamId) {
        if self.look_at.is_none()
            && let Some(ServerCall::Running(running)) = self.calls.get(stream)
            && running.half.as_ref().is_some_and(SessionHalf::is_waiting)
        {
            self.look_at = Some(driver::now() + LOOK);
        }
    }

    /// Checks which callers read pending answers.
    fn look(&mut self, session: &Session, now: Instant) {
        self.look_at = None;
        for (stream, call) in self.calls.iter_mut() {
            if let ServerCall::Running(running) = call
                && let Some(half) = &mut running.half
                && half.is_waiting()
            {
                half.look(session, stream, now);
                self.look_at = Some(now + LOOK);
            }
        }
    }

    /// Ends a call whose slot was given to another call.
    pub(crate) fn end_stalled(&mut self, session: &mut Session, stream: StreamId, why: Stall) {
        let Some(ServerCall::Running(running)) = self.calls.remove(stream) else {
            return;
        };
        let status = why.status();
        // The reset is not queued behind the messages that the caller does not read.
        session.reset(stream, &status);
        running.give_up(&status);
        if let Some(served) = self.common.served.get(running.index) {
            served.endpoint.stats.metrics.stalled();
        }
    }
}
