//! `nmfw doctor`.

use std::time::Duration;

use futures_util::StreamExt;
use nmfw::Server;
use nmfw_tests::{
    NatsServer, TestBroker,
    calc::{CalcServer, Calculator},
    eventually, on_both_brokers,
};

use crate::{
    program::{LIMIT, Program},
    services::serve,
};

on_both_brokers! {
    async fn what_is_in_order_is_told(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let empty = program.run("doctor").await.ok();
        assert!(empty.contains("note     discovery: no service answers"), "{empty}");
        let _calc = serve(&broker.url(), "1.0.0").await;
        let found = program.run("doctor --probe").await.ok();
        for line in [
            "ok       calc: 1 instance answers",
            "ok       nmfw.calc.Add: it is answered, and clocks agree",
            "no problem found",
        ] {
            assert!(found.contains(line), "{found}");
        }
    }

    async fn versions_and_health_are_compared(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = serve(&broker.url(), "1.0.0").await;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let grouped = CalcServer::new(Calculator).version("1.1.0").queue_group("other");
        let _running = Server::new(nats)
            .add_service(grouped)
            .health_check("database", async || Err::<(), _>("no route"))
            .health_interval(Duration::from_millis(20))
            .start()
            .await
            .unwrap();
        let found = eventually(LIMIT, async || {
            let output = program.run("doctor").await;
            output.stdout.contains("does not serve").then_some(output)
        })
        .await;
        assert_eq!(found.status, 5, "{found:?}");
        for line in [
            "note     calc: several versions run: 1.0.0 (1), 1.1.0 (1)",
            "problem  calc: nmfw.calc.Add is in several queue groups: other, q",
            "it does not serve: database (no route)",
        ] {
            assert!(found.stdout.contains(line), "{found:?}");
        }
    }

    /// An instance that answers discovery, but nothing else.
    async fn half_dead_instances_are_found(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let client = async_nats::connect(broker.url()).await.unwrap();
        let mut queries = client.subscribe("$SRV.>").await.unwrap();
        client.flush().await.unwrap();
        let publisher = client.clone();
        tokio::spawn(async move {
            while let Some(query) = queries.next().await {
                let verb = query.subject.split('.').nth(1).unwrap_or_default().to_lowercase();
                let answer = format!(
                    r#"{{"type":"io.nats.micro.v1.{verb}_response","name":"calc","id":"D1",
                        "version":"1.0.0","metadata":{{"nmfw.service":"calc.Calc"}},
                        "started":"2999-01-01T00:00:00Z",
                        "endpoints":[{{"name":"Add","subject":"nmfw.calc.Add","queue_group":"q",
                        "metadata":{{"nmfw.method":"calc.Calc.Add"}},
                        "data":{{"running":4,"waiting":2,"concurrency":4,"queue":9}}}}]}}"#
                );
                publisher.publish(query.reply.unwrap(), answer.into()).await.unwrap();
            }
        });
        let found = program.run("doctor --probe --timeout 2s").await;
        assert_eq!(found.status, 5, "{found:?}");
        for line in [
            "problem  calc D1: it answers discovery, but not on nmfw.calc._i.D1.health",
            "problem  calc D1: Add is full: 4 calls running, 2 calls waiting",
            "problem  calc D1: it started in the future, by this clock",
            "note     calc: 1 instance has no schema",
            "problem  nmfw.calc.Add: a call is not answered",
        ] {
            assert!(found.stdout.contains(line), "{line}\n{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_name_the_permissions() {
    let permissions = "permissions: { publish: { deny: \"$SRV.>\" } }";
    let config = format!("authorization {{ users: [{{ user: a, password: b, {permissions} }}] }}");
    let server = NatsServer::builder().config(config).start().await.unwrap();
    let program = Program::new(&format!("nats://a:b@127.0.0.1:{}", server.port()));
    let denied = program.run("ls").await;
    assert_eq!(denied.status, 3, "{denied:?}");
    assert!(
        denied.stderr.contains("may not publish to $SRV.PING"),
        "{denied:?}"
    );
    assert!(denied.stderr.contains("--role observer"), "{denied:?}");
    let wrong = Program::new(&format!("nats://a:wrong@127.0.0.1:{}", server.port()));
    let refused = wrong.run("ls").await;
    assert_eq!(refused.status, 3, "{refused:?}");
    assert!(
        !refused.stderr.contains("wrong"),
        "a password was printed: {refused:?}"
    );
}
