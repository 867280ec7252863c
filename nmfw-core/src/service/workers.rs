//! [`Workers`]: a pool of tasks that run handlers.
//!
//! Spawning a task per call takes a large allocation and bookkeeping, more than many handlers. A
//! finished task therefore waits for the next call, unless enough others already do. The most
//! recently used task is taken first, because its memory is still in the cache.

use std::{
    future::poll_fn,
    mem,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;

/// Maximum number of idle tasks. Further ones were needed for a burst, and end with it.
const MAX_IDLE: usize = 128;

/// The work of a worker. Jobs catch and report their own panics.
pub trait Job: Send + 'static {
    fn run(self) -> impl Future<Output = ()> + Send;
}

/// A pool of worker tasks. When it is dropped, idle workers end at once, and the others after their
/// job.
#[derive(Debug)]
pub struct Workers<J: Job>(Arc<Pool<J>>);

#[derive(Debug)]
struct Pool<J>(Mutex<Idle<J>>);

#[derive(Debug)]
struct Idle<J> {
    slots: Vec<Arc<Slot<J>>>,
    /// Whether there will be no more work.
    is_over: bool,
}

/// The slot from which a worker takes its job.
#[derive(Debug)]
struct Slot<J> {
    state: Mutex<SlotState<J>>,
    /// The number of the last aborted job.
    aborted: AtomicU64,
}

#[derive(Debug)]
struct SlotState<J> {
    next: Option<J>,
    /// The number of the waiting or running job, counted from 1.
    number: u64,
    /// Whether the worker has to end, or has ended.
    is_over: bool,
    waker: Option<Waker>,
}

/// A job that was assigned to a worker.
#[derive(Debug)]
pub struct Assignment<J> {
    slot: Arc<Slot<J>>,
    number: u64,
}

impl<J: Job> Default for Workers<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J: Job> Workers<J> {
    #[must_use]
    pub fn new() -> Self {
        let idle = Idle {
            slots: Vec::new(),
            is_over: false,
        };
        Self(Arc::new(Pool(Mutex::new(idle))))
    }

    /// Runs a job on a worker of the current runtime, or of an earlier one.
    pub fn start(&self, mut job: J) -> Assignment<J> {
        while let Some(slot) = self.0.next() {
            match slot.assign(job) {
                Ok(number) => return Assignment { slot, number },
                Err(refused) => job = refused,
            }
        }
        let state = SlotState {
            next: Some(job),
            number: 1,
            is_over: false,
            waker: None,
        };
        let slot = Arc::new(Slot {
            state: Mutex::new(state),
            aborted: AtomicU64::new(0),
        });
        tokio::spawn(work(Arc::clone(&self.0), Arc::clone(&slot)));
        Assignment { slot, number: 1 }
    }
}

impl<J: Job> Drop for Workers<J> {
    fn drop(&mut self) {
        let slots = {
            let mut idle = self.0.idle();
            idle.is_over = true;
            mem::take(&mut idle.slots)
        };
        for slot in slots {
            slot.update(|state| state.is_over = true);
        }
    }
}

impl<J> Assignment<J> {
    /// Drops the job unless it has completed.
    pub fn abort(&self) {
        self.slot.update(|state| {
            if state.number == self.number {
                self.slot.aborted.store(self.number, Ordering::Release);
            }
        });
    }
}

impl<J> Pool<J> {
    fn idle(&self) -> MutexGuard<'_, Idle<J>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Arc<Slot<J>>> {
        self.idle().slots.pop()
    }

    /// Returns whether the worker should wait for more work.
    fn keep(&self, slot: &Arc<Slot<J>>) -> bool {
        let mut idle = self.idle();
        let keep = !idle.is_over && idle.slots.len() < MAX_IDLE;
        if keep {
            idle.slots.push(Arc::clone(slot));
        }
        keep
    }
}

impl<J> Slot<J> {
    fn state(&self) -> MutexGuard<'_, SlotState<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes the worker.
    fn update<T>(&self, change: impl FnOnce(&mut SlotState<J>) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
        result
    }

    /// Returns the job if the worker has ended with its runtime.
    fn assign(&self, job: J) -> Result<u64, J> {
        self.update(|state| {
            if state.is_over {
                return Err(job);
            }
            state.next = Some(job);
            state.number += 1;
            Ok(state.number)
        })
    }

    /// Returns the next job and its number; `None` if there are no more.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<(J, u64)>> {
        let mut state = self.state();
        // The waker is kept, because it is always that of the same task.
        match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => state.waker = Some(cx.waker().clone()),
        }
        match state.next.take() {
            Some(job) => Poll::Ready(Some((job, state.number))),
            None if state.is_over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_aborted(&self, number: u64) -> bool {
        self.aborted.load(Ordering::Acquire) == number
    }
}

async fn work<J: Job>(pool: Arc<Pool<J>>, slot: Arc<Slot<J>>) {
    let guard = SlotGuard(&slot);
    while let Some((job, number)) = poll_fn(|cx| slot.poll_next(cx)).await {
        {
            // The panic hook has reported the panic, which must not end the worker.
            let mut work = pin!(AssertUnwindSafe(job.run()).catch_unwind());
            poll_fn(|cx| match slot.is_aborted(number) {
                true => Poll::Ready(()),
                false => work.as_mut().poll(cx).map(drop),
            })
            .await;
        }
        if !pool.keep(&slot) {
            break;
        }
    }
    drop(guard);
}

/// Marks the slot dead and drops a job that was never started.
struct SlotGuard<'a, J>(&'a Slot<J>);

impl<J> Drop for SlotGuard<'_, J> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.state();
            state.is_over = true;
            state.next.take()
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::atomic::AtomicUsize};

    use tokio::{
        runtime::{Handle, Runtime},
        sync::{mpsc, oneshot},
        task::yield_now,
    };

    use super::*;

    enum TestJob {
        Say(oneshot::Sender<()>),
        Hang(mpsc::Sender<()>),
        Panic,
    }

    impl Job for TestJob {
        async fn run(self) {
            match self {
                Self::Say(done) => drop(done.send(())),
                Self::Hang(_alive) => pending().await,
                Self::Panic => panic!("for the test"),
            }
        }
    }

    async fn say(workers: &Workers<TestJob>) {
        let (sender, done) = oneshot::channel();
        workers.start(TestJob::Say(sender));
        done.await.unwrap();
    }

    fn tasks() -> usize {
        Handle::current().metrics().num_alive_tasks()
    }

    async fn until_tasks(count: usize) {
        let mut turns = 0;
        while tasks() != count {
            assert!(turns < 10_000, "{} tasks instead of {count}", tasks());
            turns += 1;
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_worker_does_one_job_after_the_other() {
        let workers = Workers::new();
        for _ in 0..10 {
            say(&workers).await;
            yield_now().await;
        }
        assert_eq!(tasks(), 1);
        workers.start(TestJob::Panic);
        yield_now().await;
        say(&workers).await;
        assert_eq!(tasks(), 1);
    }

    #[tokio::test]
    async fn an_aborted_job_is_dropped_and_no_other() {
        let workers = Workers::new();
        let (sender, mut alive) = mpsc::channel(1);
        // Before its first poll, and while it is pending.
        for turns in [0, 1] {
            let job = workers.start(TestJob::Hang(sender.clone()));
            for _ in 0..turns {
                yield_now().await;
            }
            job.abort();
            yield_now().await;
            say(&workers).await;
            // No effect: the job has completed.
            job.abort();
            say(&workers).await;
        }
        assert_eq!(tasks(), 1);
        drop(sender);
        assert_eq!(alive.recv().await, None);
    }

    #[tokio::test]
    async fn few_wait_and_none_when_it_is_over() {
        let workers = Workers::new();
        let (sender, _alive) = mpsc::channel(1);
        let hang = || workers.start(TestJob::Hang(sender.clone()));
        let jobs: Vec<_> = (0..MAX_IDLE * 2).map(|_| hang()).collect();
        assert_eq!(tasks(), MAX_IDLE * 2);
        jobs.iter().for_each(Assignment::abort);
        until_tasks(MAX_IDLE).await;
        drop(workers);
        until_tasks(0).await;
    }

    #[test]
    fn outlives_a_runtime() {
        static DROPPED: AtomicUsize = AtomicUsize::new(0);
        struct CountedJob(Option<oneshot::Sender<()>>);
        impl Drop for CountedJob {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Ordering::SeqCst);
            }
        }
        impl Job for CountedJob {
            async fn run(mut self) {
                if let Some(done) = self.0.take() {
                    _ = done.send(());
                }
            }
        }
        let workers = Workers::new();
        for round in 1..=2 {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let (sender, done) = oneshot::channel();
                workers.start(CountedJob(Some(sender)));
                done.await.unwrap();
            });
            drop(runtime);
            assert_eq!(DROPPED.load(Ordering::SeqCst), round);
        }
    }
}
