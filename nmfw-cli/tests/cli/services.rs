//! Commands about services.

use std::time::Duration;

use nmfw::{Server, server};
use nmfw_tests::{
    TestBroker, calc,
    calc::{CalcServer, Calculator},
    eventually, on_both_brokers,
};

use crate::{
    golden,
    program::{LIMIT, Program, Running},
};

/// Serves the calculator with this version.
pub(crate) async fn serve(url: &str, version: &str) -> server::Running {
    let nats = nmfw::connect(url).await.unwrap();
    let service = CalcServer::new(Calculator);
    let server = Server::new(nats).add_service(service.version(version));
    server.start().await.unwrap()
}

fn id(running: &server::Running) -> String {
    running.services()[0].id.clone()
}

on_both_brokers! {
    async fn services_are_listed(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let mut outputs = vec![program.run("ls").await, program.run("ping").await];
        let (a, b) = (serve(&broker.url(), "1.0.0").await, serve(&broker.url(), "1.1.0").await);
        for line in [
            "ls", "ls calc", "ls calc.Calc", "ls calk", "ls zzz --json", "info calc", "stats",
            "ping calc", "ping calc nonsense", "info calk", "ls --json", "permissions calc --role client",
            "permissions calc --role client --method Ad",
        ] {
            outputs.push(program.run(line).await);
        }
        golden::check("services.txt", &outputs, &[&id(&a), &id(&b)]);
    }

    async fn an_instance_is_named_by_a_part_of_its_id(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let (a, _b) = (serve(&broker.url(), "1.0.0").await, serve(&broker.url(), "1.0.0").await);
        let id = id(&a);
        let found = program.run(&format!("ping calc {} --json", &id[id.len() - 6..])).await.json();
        let instances = found["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 1);
        assert_eq!(instances[0]["id"], id.as_str());
    }

    /// 500 instances answer long before the limit.
    async fn listing_ends_when_all_have_answered(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let mut running = Vec::new();
        for _ in 0..500 {
            let server = Server::new(nats.clone()).add_service(CalcServer::new(Calculator));
            running.push(server.start().await.unwrap());
        }
        let started = std::time::Instant::now();
        let found = program.run("ls --json --timeout 60s").await.json();
        assert_eq!(found["services"][0]["instances"], 500);
        assert_eq!(found["services"][0]["serving"], 500);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    async fn an_instance_that_does_not_serve_is_reported(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(nats)
            .add_service(CalcServer::new(Calculator))
            .health_check("database", async || Err::<(), _>("no\u{1b}[31m route"))
            .health_interval(Duration::from_millis(20));
        let running = server.start().await.unwrap();
        eventually(LIMIT, async || {
            let output = program.run("ping calc").await;
            (output.status == 5).then_some(())
        })
        .await;
        let outputs = [
            program.run("ls").await,
            program.run("ping calc").await,
            program.run("stats calc --instances").await,
        ];
        golden::check("not_serving.txt", &outputs, &[&id(&running)]);
    }

    async fn watching_repeats_and_has_rates(broker: TestBroker) {
        use std::io::{BufRead, BufReader};
        let program = Program::new(&broker.url());
        let _running = serve(&broker.url(), "1.0.0").await;
        let client = calc::client(&broker.url()).await.unwrap();
        let child = program.command("stats calc --json --watch=1s").spawn().unwrap();
        let mut child = Running(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut next = || -> serde_json::Value {
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
        };
        let first = next();
        assert!(first["endpoints"][0]["rate"].is_null());
        for _ in 0..10 {
            client.add(calc::AddRequest { values: vec![1.0] }).await.unwrap();
        }
        let second = next();
        assert_eq!(second["endpoints"][0]["endpoint"], "Add");
        let rate = second["endpoints"][0]["rate"].as_f64().unwrap();
        assert!(rate > 1.0 && rate < 20.0, "{second}");
    }
}
