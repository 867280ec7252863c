//! Tests of the limit on the bytes of queued requests, in base mode and in sessions.

use nmfw::async_nats::ConnectionExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nmfw::{Channel, Code, Context, NatsChannel as _, Server, Status};
use nmfw_tests::{
    TestBroker,
    calc::{
        AddRequest, AverageRequest, Calc, CalcClient, CalcResponse, CalcServer, ExpressionRequest,
    },
    eventually, on_both_brokers,
};
use tokio::{sync::Semaphore, task::JoinSet};

const LIMIT: Duration = Duration::from_secs(30);

/// The maximum number of waiting bytes.
const QUEUE_BYTES: usize = 40_000;

/// Blocks its handlers until it is opened, and counts them.
#[derive(Clone)]
struct Gate {
    open: Arc<Semaphore>,
    started: Arc<AtomicU64>,
}

impl Gate {
    fn closed() -> Self {
        Self {
            open: Arc::new(Semaphore::new(0)),
            started: Arc::default(),
        }
    }

    fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// Lets all handlers through, including later ones.
    fn open(&self) {
        self.open.add_permits(1000);
    }
}

impl Calc for Gate {
    async fn average(&self, _: Context, _: AverageRequest) -> Result<CalcResponse, Status> {
        Err(Status::unimplemented("not used by this test"))
    }

    async fn add(&self, _: Context, _: AddRequest) -> Result<CalcResponse, Status> {
        Err(Status::unimplemented("not used by this test"))
    }

    async fn expression(
        &self,
        _: Context,
        request: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let permit = self.open.acquire().await;
        permit
            .map_err(|_| Status::internal("the gate is never closed"))?
            .forget();
        Ok(CalcResponse {
            operation: request.expression.len().to_string(),
            result: 0.0,
        })
    }
}

fn request(bytes: usize) -> ExpressionRequest {
    ExpressionRequest {
        expression: "1".repeat(bytes),
    }
}

/// Returns the number of waiting calls according to discovery.
async fn waiting(nats: &async_nats::Client) -> u64 {
    let stats = nats.request("$SRV.STATS.calc", "".into()).await.unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats.payload).unwrap();
    let endpoints = stats["endpoints"].as_array().unwrap();
    let waiting = endpoints.iter().map(|e| e["data"]["waiting"].as_u64());
    waiting.map(Option::unwrap).sum()
}

on_both_brokers! {
    async fn bytes_that_wait_have_a_bound(broker: TestBroker) {
        let gate = Gate::closed();
        let service = CalcServer::new(gate.clone())
            .concurrency(1)
            .queue(1000)
            .queue_bytes(QUEUE_BYTES);
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _running = Server::new(nats.clone()).add_service(service).start().await.unwrap();
        let plain = nats.client();
        let base = CalcClient::new(&nats);
        let multiplexed = CalcClient::new(Channel::new(&nats).multiplexed());
        let mut calls = JoinSet::new();
        let begin = |calls: &mut JoinSet<_>, client: &CalcClient, bytes| {
            let call = client.expression(request(bytes)).timeout(LIMIT * 2);
            calls.spawn(async move { (bytes, call.await) });
        };

        // The first call runs and does not count as waiting. It is too large to wait.
        begin(&mut calls, &base, QUEUE_BYTES + 1);
        eventually(LIMIT, || async { gate.started() == 1 }).await;
        // One call of each kind waits: both count.
        for (client, count) in [(&base, 1), (&multiplexed, 2)] {
            begin(&mut calls, client, 16_000);
            eventually(LIMIT, || async { waiting(plain).await == count }).await;
        }
        for client in [&base, &multiplexed] {
            let status = client.expression(request(16_000)).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(status.is_not_started(), "{status}");
            assert!(status.message().contains("limited to 40000 bytes"), "{status}");
        }
        // The limit of bytes is reached, not that of places.
        for (client, count) in [(&base, 3), (&multiplexed, 4)] {
            begin(&mut calls, client, 100);
            eventually(LIMIT, || async { waiting(plain).await == count }).await;
        }
        assert_eq!(gate.started(), 1);

        gate.open();
        for (bytes, outcome) in calls.join_all().await {
            assert_eq!(outcome.unwrap().operation, bytes.to_string());
        }
        assert_eq!((gate.started(), waiting(plain).await), (5, 0));
        // The bytes of calls that waited are free again.
        for client in [&base, &multiplexed] {
            client.expression(request(QUEUE_BYTES + 1)).await.unwrap();
        }
    }
}
