//! Services and clients on a runtime with one thread, under more load than it can handle.

use std::{cell::Cell, thread, time::Duration};

use futures_util::{StreamExt, future::join_all};
use nmfw::{Channel, Code, NatsChannel as _};
use nmfw_tests::{
    TestBroker, eventually, on_both_brokers,
    puppet::{self, Blob, PuppetClient, SleepRequest, Strings},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(30);
const FOREVER: SleepRequest = SleepRequest { millis: 600_000 };

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

on_both_brokers! {
    /// When a server stops, its buffers hold more messages than tokio's coop budget lets a task
    /// read at once.
    async fn a_stop_answers_all_that_lies_in_buffers(broker: TestBroker) {
        const REQUESTS: usize = 20_000;
        let (stop, stopped) = oneshot::channel();
        let (serves, ready) = oneshot::channel();
        let url = broker.url();
        let server = thread::spawn(move || {
            one_thread().block_on(async {
                let running = puppet::serve(&url, &Strings::default()).await.unwrap();
                serves.send(()).unwrap();
                // Requests arrive meanwhile.
                let pause: Duration = stopped.await.unwrap();
                thread::sleep(pause);
                running.stop();
                timeout(LIMIT, running.join()).await.unwrap().unwrap();
            });
        });
        ready.await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        // Calls until the handlers are known to be quick.
        for _ in 0..40 {
            let echo = || async { client.echo(Blob::default()).await.unwrap() };
            join_all((0..100).map(|_| echo())).await;
        }

        let nats = async_nats::connect(broker.url()).await.unwrap();
        let mut answers = nats.subscribe("answers").await.unwrap();
        stop.send(Duration::from_millis(300)).unwrap();
        // An empty message.
        let body = "";
        for _ in 0..REQUESTS {
            let echo = "nmfw.puppet.Echo";
            nats.publish_with_reply(echo, "answers", body.into()).await.unwrap();
        }
        nats.flush().await.unwrap();
        for n in 0..REQUESTS {
            let answer = timeout(LIMIT, answers.next()).await;
            assert!(answer.is_ok_and(|answer| answer.is_some()), "{n} answers");
        }
        tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
    }

    async fn deadlines_hold_while_answers_keep_coming(broker: TestBroker) {
        const CALLERS: usize = 5_000;
        let _running = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let url = broker.url();
        let client = thread::spawn(move || {
            one_thread().block_on(async {
                let client = puppet::client(&url).await.unwrap();
                let has_ended = Cell::new(false);
                let caller = || async {
                    while !has_ended.get() {
                        client.echo(Blob::default()).await.unwrap();
                    }
                };
                let hangs = async {
                    let call = client.sleep(FOREVER).timeout(Duration::from_millis(300));
                    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
                    has_ended.set(true);
                };
                let busy = join_all((0..CALLERS).map(|_| caller()));
                let all = async { tokio::join!(busy, hangs) };
                timeout(LIMIT, all).await.unwrap();
            });
        });
        tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
    }

    /// The task that delivers answers also enforces deadlines, and runs on the connection's
    /// runtime.
    async fn calls_end_with_the_runtime_of_their_connection(broker: TestBroker) {
        let strings = Strings::default();
        let _running = puppet::serve(&broker.url(), &strings).await.unwrap();
        for is_multiplexed in [false, true] {
            let runtime = Runtime::new().unwrap();
            let url = broker.url();
            let connecting = runtime.spawn(async move {
                let nats = nmfw::connect(&url).await.unwrap();
                let channel = Channel::new(nats);
                let channel = if is_multiplexed { channel.multiplexed() } else { channel };
                let client = PuppetClient::new(channel);
                client.echo(Blob::default()).await.unwrap();
                client
            });
            let client = connecting.await.unwrap();
            let call = client.sleep(FOREVER).timeout(LIMIT * 10);
            let before = strings.started();
            let call = tokio::spawn(async move { call.await });
            eventually(LIMIT, || async { strings.started() > before }).await;
            runtime.shutdown_background();
            let outcome = timeout(LIMIT, call).await.unwrap().unwrap();
            assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
        }
    }
}
