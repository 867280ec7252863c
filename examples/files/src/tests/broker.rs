use std::{fs, time::Duration};

use nmfw::{Channel, Connection, NatsChannel as _, Server, embedded::Broker, server::Running};

use super::{Setup, content};
use crate::{
    client::{self, SyncOptions},
    files::{FilesClient, FilesServer, ListRequest, WatchRequest},
};

/// Smaller than the blocks that the service sends.
const MAX_PAYLOAD: usize = 32 * 1024;

struct OverNats {
    setup: Setup,
    files: FilesClient,
    _nats: Connection,
    server: Running,
    _broker: Broker,
}

async fn start() -> OverNats {
    let setup = Setup::new();
    let broker = Broker::builder()
        .max_payload(MAX_PAYLOAD)
        .start()
        .await
        .unwrap();
    let server = Server::new(nmfw::connect(broker.url()).await.unwrap())
        .add_service(FilesServer::new(setup.service.clone()))
        .start()
        .await
        .unwrap();
    let nats = nmfw::connect(broker.url()).await.unwrap();
    OverNats {
        setup,
        files: FilesClient::new(Channel::new(&nats).multiplexed()),
        _nats: nats,
        server,
        _broker: broker,
    }
}

#[tokio::test]
async fn all_commands_work_with_small_messages() {
    let OverNats { setup, files, .. } = &start().await;
    let path = setup.local("x");
    fs::write(&path, content(3_000_000)).unwrap();
    client::put(files, &path, "x").await.unwrap();
    assert_eq!(fs::read(setup.served("x")).unwrap(), content(3_000_000));
    client::get(files, "x", &setup.local("y")).await.unwrap();
    assert_eq!(fs::read(setup.local("y")).unwrap(), content(3_000_000));

    for i in 0..1500 {
        let name = format!("a file with a name that is not short {i}");
        fs::write(setup.local(&name), name).unwrap();
    }
    let done = client::sync(files, &setup.local(""), SyncOptions::default()).await;
    let done = done.unwrap();
    assert_eq!((done.stored, done.unchanged), (1501, 1));
    let listed = files.list(ListRequest::default()).await.unwrap().files;
    assert_eq!(listed.len(), 1502);
}

#[tokio::test]
async fn a_put_whose_caller_vanishes_leaves_nothing() {
    let over_nats = start().await;
    let (setup, files) = (&over_nats.setup, over_nats.files.clone());
    let path = setup.local("x");
    // Large enough to stay in flight for a while.
    fs::write(&path, content(50_000_000)).unwrap();
    let call = tokio::spawn(async move { client::put(&files, &path, "x").await.map(|_| ()) });
    let has_begun = || {
        setup
            .all_served()
            .iter()
            .any(|name| name.ends_with(".part"))
    };
    while !has_begun() && !call.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        !call.is_finished(),
        "the put completed before it could be dropped"
    );
    call.abort();
    _ = call.await;
    for _ in 0..500 {
        if setup.all_served().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(setup.all_served().is_empty());
}

#[tokio::test]
async fn watching_calls_do_not_delay_the_shutdown() {
    let OverNats {
        setup: _setup,
        files,
        server,
        _nats,
        _broker,
    } = start().await;
    let mut events = files.watch(WatchRequest::default()).await.unwrap();
    events.message().await.unwrap();
    server.stop();
    let end = tokio::time::timeout(Duration::from_secs(8), server.join()).await;
    end.expect("the shutdown waited for a call").unwrap();
    let status = events.message().await.unwrap_err();
    assert_eq!(status.message(), "the service is stopping");
}
