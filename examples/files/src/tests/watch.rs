use std::fs;

use super::Setup;
use crate::{
    client,
    files::{Change, WatchRequest, WatchResponse, change::Kind, watch_response::Event},
};

fn change(response: Option<WatchResponse>) -> (Kind, String) {
    match response.unwrap().event.unwrap() {
        Event::Change(Change { kind, file }) => {
            (kind.try_into().unwrap(), file.unwrap_or_default().name)
        }
        Event::Started(started) => panic!("{started:?}"),
    }
}

#[tokio::test]
async fn reports_changes_by_the_service_and_others() {
    let setup = Setup::new();
    fs::write(setup.served("before"), "x").unwrap();
    let mut events = setup.files.watch(WatchRequest::default()).await.unwrap();
    let started = events.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(started, Event::Started(started) if started.files == 1));

    fs::write(setup.local("x"), "x").unwrap();
    client::put(&setup.files, &setup.local("x"), "dir/x")
        .await
        .unwrap();
    let told = change(events.message().await.unwrap());
    assert_eq!(told, (Kind::Created, "dir/x".to_owned()));

    fs::write(setup.served("before"), "another").unwrap();
    let told = change(events.message().await.unwrap());
    assert_eq!(told, (Kind::Modified, "before".to_owned()));

    fs::remove_dir_all(setup.served("dir")).unwrap();
    let told = change(events.message().await.unwrap());
    assert_eq!(told, (Kind::Removed, "dir/x".to_owned()));
}

#[tokio::test]
async fn a_slow_reader_gets_the_last_state() {
    let setup = Setup::new();
    let mut events = setup.files.watch(WatchRequest::default()).await.unwrap();
    events.message().await.unwrap();
    for i in 0..1000 {
        fs::write(setup.served("x"), format!("number {i}")).unwrap();
    }
    fs::write(setup.served("x"), "the last one").unwrap();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        let Event::Change(Change {
            file: Some(file), ..
        }) = event
        else {
            panic!("{event:?}");
        };
        if file.size == 12 {
            break;
        }
    }
}

#[tokio::test]
async fn only_of_a_directory_that_exists() {
    let setup = Setup::new();
    for directory in ["none", "../local"] {
        let request = WatchRequest {
            directory: directory.to_owned(),
        };
        assert!(setup.files.watch(request).await.is_err(), "{directory}");
    }
}
