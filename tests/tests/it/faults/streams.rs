//! Brokers that die and come back, and paths to them that break, under streams of every kind: all
//! streams complete, with all their messages.

use std::time::Duration;

use nmfw::{Channel, ConnectOptions, Connection, NatsChannel as _, Server, server::Running};
use nmfw_tests::{
    Direction, NatsServer, Proxy, TestBroker,
    cluster::Cluster,
    eventually, on_both_brokers,
    stream_load::StreamLoad,
    streams::{Flows, StreamsClient, StreamsServer},
};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(30);

/// Reconnects fast, to keep the tests short.
fn options() -> ConnectOptions {
    ConnectOptions::new().reconnect_delay(|_| Duration::from_millis(20))
}

async fn serve(nats: Connection) -> Running {
    let server = Server::new(nats).add_service(StreamsServer::new(Flows::default()));
    server.start().await.unwrap()
}

fn client(nats: Connection) -> StreamsClient {
    StreamsClient::new(Channel::new(nats).multiplexed().reconnect_grace(LIMIT))
}

on_both_brokers! {
    async fn a_broker_that_dies_again_and_again_costs_no_stream(broker: TestBroker) {
        let mut broker = broker;
        let _running = serve(options().connect(broker.url()).await.unwrap()).await;
        let client = client(options().connect(broker.url()).await.unwrap());
        let mut load = StreamLoad::start(&client, 3);
        load.goes_on(LIMIT).await;
        for _ in 0..6 {
            broker.restart().await.unwrap();
            load.goes_on(LIMIT).await;
        }
        load.finish(LIMIT).await;
    }

    async fn connections_that_are_cut_cost_no_stream(broker: TestBroker) {
        let to_service = Proxy::start(broker.port()).await.unwrap();
        let to_client = Proxy::start(broker.port()).await.unwrap();
        let _running = serve(options().connect(to_service.url()).await.unwrap()).await;
        let client = client(options().connect(to_client.url()).await.unwrap());
        let mut load = StreamLoad::start(&client, 3);
        load.goes_on(LIMIT).await;
        for round in 0..10 {
            let proxy = if round % 2 == 0 { &to_client } else { &to_service };
            let accepted = proxy.accepted();
            proxy.cut();
            eventually(LIMIT, || async { proxy.accepted() > accepted && proxy.open() > 0 }).await;
            if round % 3 == 0 {
                load.goes_on(LIMIT).await;
            }
        }
        // For longer, and both at once.
        to_client.down();
        to_service.down();
        sleep(Duration::from_millis(500)).await;
        to_client.up();
        to_service.up();
        load.goes_on(LIMIT).await;
        load.finish(LIMIT).await;
    }

    async fn connections_that_stall_or_are_slow_cost_no_stream(broker: TestBroker) {
        let to_service = Proxy::start(broker.port()).await.unwrap();
        let to_client = Proxy::start(broker.port()).await.unwrap();
        let _running = serve(options().connect(to_service.url()).await.unwrap()).await;
        let client = client(options().connect(to_client.url()).await.unwrap());
        let mut load = StreamLoad::start(&client, 2);
        load.goes_on(LIMIT).await;
        for proxy in [&to_service, &to_client] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                proxy.stall(direction);
                sleep(Duration::from_millis(700)).await;
                proxy.resume(direction);
                load.goes_on(LIMIT).await;
            }
            proxy.delay(Duration::from_millis(15));
            load.goes_on(LIMIT).await;
            // Each cut loses the messages in transit.
            proxy.cut();
            load.goes_on(LIMIT).await;
            proxy.delay(Duration::ZERO);
        }
        load.finish(LIMIT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_for_a_while_costs_no_stream() {
    let server = NatsServer::start().await.unwrap();
    let _running = serve(options().connect(server.url()).await.unwrap()).await;
    let client = client(options().connect(server.url()).await.unwrap());
    let mut load = StreamLoad::start(&client, 3);
    for _ in 0..3 {
        load.goes_on(LIMIT).await;
        server.freeze().await.unwrap();
        sleep(Duration::from_millis(1500)).await;
        server.thaw().unwrap();
    }
    load.goes_on(LIMIT).await;
    load.finish(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_nodes_die_in_turn_costs_no_stream() {
    let mut cluster = Cluster::start(3).await.unwrap();
    let connect = |first| {
        options()
            .retain_servers_order(true)
            .connect(cluster.urls(first))
    };
    // Initially each on its own node.
    let _running = serve(connect(0).await.unwrap()).await;
    let client = client(connect(1).await.unwrap());
    let mut load = StreamLoad::start(&client, 3);
    load.goes_on(LIMIT).await;
    for round in 0..6 {
        cluster.bounce(round % cluster.len()).await.unwrap();
        load.goes_on(LIMIT).await;
    }
    load.finish(LIMIT).await;
}
