use std::time::Duration;

use super::*;
use crate::Code;

fn enter_as(gate: &Arc<Admission>, client: u64, bytes: usize) -> Admitted {
    let open = CancellationToken::new();
    gate.enter(&open, bytes, || ClientId::numbered(client))
}

fn enter(gate: &Arc<Admission>) -> Admitted {
    enter_as(gate, 1, 0)
}

fn later(admitted: Admitted) -> Ticket {
    match admitted {
        Admitted::Later(ticket) => ticket,
        _ => panic!("not queued"),
    }
}

fn now(admitted: Admitted) -> Permit {
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

async fn turn(ticket: Ticket, deadline: Deadline) -> Result<Permit, Status> {
    ticket
        .turn(deadline, &CancellationToken::new(), || {})
        .await
}

#[tokio::test]
async fn runs_then_queues_then_refuses() {
    let gate = Admission::new(1, 1, 100);
    let running = now(enter(&gate));
    let waiting = later(enter(&gate));
    let status = refused(enter(&gate));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
    assert_eq!((gate.running(), gate.waiting()), (1, 1));

    drop(running);
    let permit = turn(waiting, Deadline::NONE).await.unwrap();
    drop(later(enter(&gate)));
    drop(permit);
    drop(now(enter(&gate)));
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
}

#[tokio::test]
async fn a_drain_empties_the_queue_and_runs_what_can_start() {
    let gate = Admission::new(1, 10, 100);
    let draining = CancellationToken::new();
    let enter = || gate.enter(&draining, 0, || ClientId::LOCAL);
    let running = now(enter());
    let waiting = later(enter());
    draining.cancel();
    let waiting = waiting.turn(Deadline::NONE, &draining, || {});
    let status = waiting.await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.is_not_started());
    assert!(refused(enter()).is_not_started());
    drop(running);
    drop(now(enter()));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait() {
    let gate = Admission::new(1, 10, 100);
    let _running = now(enter(&gate));
    let waiting = later(enter(&gate));
    let deadline = Deadline::after(Duration::from_millis(10));
    let status = turn(waiting, deadline).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(gate.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_at_the_deadline_comes_too_late() {
    let gate = Admission::new(1, 10, 100);
    let running = now(enter(&gate));
    let waiting = later(enter(&gate));
    let deadline = Deadline::after(Duration::from_millis(10));
    tokio::time::advance(Duration::from_millis(10)).await;
    drop(running);
    let status = turn(waiting, deadline).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.is_not_started());
    drop(now(enter(&gate)));
}

#[tokio::test]
async fn a_client_that_fills_the_queue_makes_room_and_takes_turns() {
    let gate = Admission::new(1, 4, 100);
    let running = now(enter_as(&gate, 1, 0));
    let mut hog: Vec<_> = (0..4).map(|_| later(enter_as(&gate, 1, 0))).collect();
    refused(enter_as(&gate, 1, 0));
    // Two calls per client are a fair share; a third is refused.
    let others = [later(enter_as(&gate, 2, 0)), later(enter_as(&gate, 2, 0))];
    let status = refused(enter_as(&gate, 2, 0));
    assert_eq!(status.code(), Code::ResourceExhausted);
    for _ in 0..2 {
        let newest = hog.pop().unwrap();
        let mut told = false;
        let open = CancellationToken::new();
        let newest = newest.turn(Deadline::NONE, &open, || told = true);
        let status = newest.await.unwrap_err();
        assert!(told);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.is_not_started());
    }
    assert_eq!(gate.waiting(), 4);
    let mut order = Vec::new();
    let mut waiting: Vec<_> = hog.into_iter().map(|ticket| (1, ticket)).collect();
    waiting.extend(others.into_iter().map(|ticket| (2, ticket)));
    let mut permit = Some(running);
    while !waiting.is_empty() {
        drop(permit.take());
        let next = waiting.iter_mut().position(|(_, ticket)| {
            let turn = ticket.turn.try_recv();
            permit = turn.ok().map(|turn| match turn {
                Turn::Granted(permit) => permit,
                Turn::Displaced => panic!("displaced"),
            });
            permit.is_some()
        });
        order.push(waiting.remove(next.unwrap()).0);
    }
    assert_eq!(order, [1, 2, 1, 2]);
}

#[tokio::test]
async fn requests_that_wait_are_bounded_in_bytes() {
    let gate = Admission::new(1, 100, 100);
    let running = now(enter_as(&gate, 1, 1000));
    let status = refused(enter_as(&gate, 1, 101));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.is_not_started());
    assert!(status.message().contains("100 bytes"), "{status}");
    let hog = [30, 30, 40].map(|bytes| later(enter_as(&gate, 1, bytes)));
    refused(enter_as(&gate, 1, 1));
    // Displaces calls of the client with the most, while it has more than the other.
    let other = later(enter_as(&gate, 2, 30));
    refused(enter_as(&gate, 2, 30));
    let [first, second, newest] = hog;
    turn(newest, Deadline::NONE).await.unwrap_err();
    drop(running);
    drop(turn(first, Deadline::NONE).await.unwrap());
    drop(second);
    drop(turn(other, Deadline::NONE).await.unwrap());
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
}

/// No slot is lost or granted twice while many threads enter, wait and cancel.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_slot_is_lost_or_granted_twice() {
    use std::sync::atomic::AtomicUsize;

    const LIMIT: usize = 3;
    let gate = Admission::new(LIMIT, 8, 1000);
    let at_work = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..8 {
        let (gate, at_work, done) = (Arc::clone(&gate), Arc::clone(&at_work), Arc::clone(&done));
        tasks.spawn(async move {
            for n in 0..2000 {
                let permit = match enter_as(&gate, client % 3, 1) {
                    Admitted::Now(permit) => permit,
                    // Some calls are cancelled at any moment.
                    Admitted::Later(ticket) if n % 7 == 0 => {
                        tokio::task::yield_now().await;
                        drop(ticket);
                        continue;
                    }
                    Admitted::Later(ticket) => match turn(ticket, Deadline::NONE).await {
                        Ok(permit) => permit,
                        Err(_) => continue,
                    },
                    Admitted::Refused(_) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
                assert!(at_work.fetch_add(1, Ordering::SeqCst) < LIMIT);
                tokio::task::yield_now().await;
                at_work.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
                drop(permit);
            }
        });
    }
    let all = async {
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
    assert!(done.load(Ordering::SeqCst) > 1000);
    assert_eq!((gate.running(), gate.waiting()), (0, 0));
    assert_eq!(gate.lock().len(), 0);
}
