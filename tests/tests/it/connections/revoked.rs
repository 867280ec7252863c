//! A permission that is revoked briefly: no call that has run is marked as not started.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use nmfw::{Channel, Code, Context, NatsChannel as _, Server, Status};
use nmfw_tests::{
    NatsServer,
    calc::{
        AddRequest, AverageRequest, Calc, CalcClient, CalcResponse, CalcServer, ExpressionRequest,
    },
};

/// The duration of a handler: longer than the permission is revoked.
const RUN: Duration = Duration::from_millis(400);
const REVOKED: Duration = Duration::from_millis(150);
const CALLERS: usize = 16;

const ALLOWED: &str = r#"
authorization { users: [
  { user: service, password: x }
  { user: client, password: x, permissions: { publish: ["nmfw.calc.>"], subscribe: ["_INBOX.>"] } }
] }
"#;

/// The subjects to which sessions and base mode publish.
const REVOKED_ALL: &str = r#"
authorization { users: [
  { user: service, password: x }
  { user: client, password: x, permissions: { publish: ["other"], subscribe: ["_INBOX.>"] } }
] }
"#;

/// Records which calls have run.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<HashSet<String>>>);

impl Calc for Ledger {
    async fn average(&self, _: Context, _: AverageRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn add(&self, _: Context, _: AddRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn expression(&self, _: Context, req: ExpressionRequest) -> Result<CalcResponse, Status> {
        self.0.lock().unwrap().insert(req.expression);
        tokio::time::sleep(RUN).await;
        Ok(CalcResponse::default())
    }
}

/// Returns the outcome of each call, by id.
async fn outcomes(
    calc: &CalcClient,
    revoke: impl Future<Output = ()>,
) -> Vec<(String, Result<(), Status>)> {
    let ids = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let caller = async || {
        let mut outcomes = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            let id = ids.fetch_add(1, Ordering::SeqCst).to_string();
            let expression = id.clone();
            let call = calc.expression(ExpressionRequest { expression });
            let outcome = call.timeout(Duration::from_secs(20)).await.map(drop);
            outcomes.push((id, outcome));
        }
        outcomes
    };
    let revoke = async {
        // At any time, some calls are in flight and some begin.
        tokio::time::sleep(2 * RUN).await;
        revoke.await;
        tokio::time::sleep(2 * RUN).await;
        is_over.store(true, Ordering::SeqCst);
    };
    let callers = (0..CALLERS).map(async |number: usize| {
        tokio::time::sleep(RUN.mul_f64(number as f64 / CALLERS as f64)).await;
        caller().await
    });
    let (outcomes, ()) = tokio::join!(join_all(callers), revoke);
    outcomes.into_iter().flatten().collect()
}

async fn marked_and_run_never_meet(channel: fn(nmfw::Connection) -> Channel, runs_end_well: bool) {
    let server = NatsServer::builder().config(ALLOWED).start().await.unwrap();
    let ledger = Ledger::default();
    let url = |user: &str| format!("nats://{user}:x@127.0.0.1:{}", server.port());
    let nats = nmfw::connect(url("service")).await.unwrap();
    let service = CalcServer::new(ledger.clone());
    let running = Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap();
    let nats = nmfw::connect(url("client")).await.unwrap();
    let calc = CalcClient::new(channel(nats));

    let outcomes = outcomes(&calc, async {
        server.reload(REVOKED_ALL).await.unwrap();
        tokio::time::sleep(REVOKED).await;
        server.reload(ALLOWED).await.unwrap();
    })
    .await;

    let ran = ledger.0.lock().unwrap().clone();
    let mut denied = 0;
    for (id, outcome) in &outcomes {
        match outcome {
            Ok(()) => assert!(ran.contains(id), "an answered call did not run"),
            Err(status) => {
                denied += u32::from(status.code() == Code::PermissionDenied);
                let has_run = ran.contains(id);
                assert!(!(has_run && status.is_not_started()), "{id} ran: {status}");
                assert!(!(has_run && runs_end_well), "{id} was delivered: {status}");
            }
        }
    }
    assert!(denied > 0, "no call was denied, so the test proves nothing");
    assert!(outcomes.iter().any(|(_, outcome)| outcome.is_ok()));
    running.stop();
    running.join().await.unwrap();
}

/// Calls delivered before are answered too.
#[tokio::test(flavor = "multi_thread")]
async fn in_base_mode() {
    marked_and_run_never_meet(Channel::new, true).await;
}

/// A denied packet ends the session and the calls in it.
#[tokio::test(flavor = "multi_thread")]
async fn in_sessions() {
    marked_and_run_never_meet(|nats| Channel::new(nats).multiplexed(), false).await;
}
