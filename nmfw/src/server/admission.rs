//! Who may run now, who waits, and who is turned away.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{Deadline, Status};

/// The gate of one method: at most `limit` handlers at a time, at most `queue` requests behind
/// them. It never waits by itself, so that a reader task can ask it.
#[derive(Debug)]
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    limit: usize,
    queue: usize,
}

/// What the gate says of a request.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Runs now, and until the permit is dropped.
    Now(OwnedSemaphorePermit),
    /// Has a place in the queue.
    Later(Ticket),
    /// There is no place.
    Refused(Status),
}

/// A place in the queue, given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Admission>);

impl Admission {
    pub(crate) fn new(limit: usize, queue: usize) -> Arc<Self> {
        Arc::new(Self {
            running: Arc::new(Semaphore::new(limit)),
            waiting: AtomicUsize::new(0),
            limit,
            queue,
        })
    }

    /// `draining` closes the queue, not the door: what can start at once still does.
    pub(crate) fn enter(self: &Arc<Self>, draining: &CancellationToken) -> Admitted {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Admitted::Now(permit);
        }
        if draining.is_cancelled() {
            return Admitted::Refused(stopping());
        }
        let joined = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < self.queue).then_some(waiting + 1)
            });
        match joined {
            Ok(_) => Admitted::Later(Ticket(Arc::clone(self))),
            Err(_) => Admitted::Refused(self.busy()),
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.limit - self.running.available_permits()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn busy(&self) -> Status {
        Status::resource_exhausted(format!(
            "busy: {} calls are running and {} are waiting",
            self.limit, self.queue
        ))
        .not_started()
    }
}

impl Ticket {
    /// Waits for its turn, the deadline, or the drain, whichever comes first.
    pub(crate) async fn turn(
        self,
        deadline: Deadline,
        draining: &CancellationToken,
    ) -> Result<OwnedSemaphorePermit, Status> {
        let late = || {
            Status::deadline_exceeded("the deadline passed while the call waited for its turn")
                .not_started()
        };
        tokio::select! {
            biased;
            permit = Arc::clone(&self.0.running).acquire_owned() => {
                let permit = permit?;
                // The call ahead often has the same deadline, and makes room by reaching it. Timers
                // are coarse, so that this one's may not have fired yet.
                if deadline.has_passed() { Err(late()) } else { Ok(permit) }
            }
            () = draining.cancelled() => Err(stopping()),
            () = deadline.passed() => Err(late()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn stopping() -> Status {
    Status::unavailable("this instance is stopping").not_started()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Code;

    fn later(admitted: Admitted) -> Ticket {
        match admitted {
            Admitted::Later(ticket) => ticket,
            _ => panic!("not queued"),
        }
    }

    fn now(admitted: Admitted) -> OwnedSemaphorePermit {
        match admitted {
            Admitted::Now(permit) => permit,
            _ => panic!("not admitted"),
        }
    }

    fn refused(admitted: Admitted) -> Status {
        match admitted {
            Admitted::Refused(status) => status,
            _ => panic!("not refused"),
        }
    }

    #[tokio::test]
    async fn runs_then_queues_then_refuses() {
        let gate = Admission::new(1, 1);
        let open = CancellationToken::new();
        let running = now(gate.enter(&open));
        let waiting = later(gate.enter(&open));
        let status = refused(gate.enter(&open));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.is_not_started());

        drop(running);
        let permit = waiting.turn(Deadline::NONE, &open).await.unwrap();
        later(gate.enter(&open));
        drop(permit);
        drop(now(gate.enter(&open)));
    }

    #[tokio::test]
    async fn a_drain_empties_the_queue_and_runs_what_can_start() {
        let gate = Admission::new(1, 10);
        let draining = CancellationToken::new();
        let running = now(gate.enter(&draining));
        let waiting = later(gate.enter(&draining));
        draining.cancel();
        let status = waiting.turn(Deadline::NONE, &draining).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.is_not_started());
        assert!(refused(gate.enter(&draining)).is_not_started());
        drop(running);
        drop(now(gate.enter(&draining)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_the_wait() {
        let gate = Admission::new(1, 10);
        let open = CancellationToken::new();
        let _running = now(gate.enter(&open));
        let waiting = later(gate.enter(&open));
        let deadline = Deadline::after(Duration::from_millis(10));
        let status = waiting.turn(deadline, &open).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_at_the_deadline_comes_too_late() {
        let gate = Admission::new(1, 10);
        let open = CancellationToken::new();
        let running = now(gate.enter(&open));
        let waiting = later(gate.enter(&open));
        let deadline = Deadline::after(Duration::from_millis(10));
        tokio::time::advance(Duration::from_millis(10)).await;
        drop(running);
        let status = waiting.turn(deadline, &open).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.is_not_started());
        drop(now(gate.enter(&open)));
    }
}
