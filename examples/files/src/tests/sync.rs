use std::{fs, time::SystemTime};

use nmfw::Streaming;

use super::{Setup, content, message};
use crate::{
    client::{self, SyncOptions},
    files::{SyncRequest, SyncStart, sync_request::Part},
};

const DELETE: SyncOptions = SyncOptions {
    delete: true,
    compare_content: false,
};
const COMPARE: SyncOptions = SyncOptions {
    delete: false,
    compare_content: true,
};

/// Returns the numbers of files that were sent, unchanged and removed.
async fn sync(setup: &Setup, options: SyncOptions) -> (u64, u64, u64) {
    let done = client::sync(&setup.files, &setup.local(""), options)
        .await
        .unwrap();
    (done.stored, done.unchanged, done.removed)
}

#[tokio::test]
async fn moves_everything_and_then_nothing() {
    let setup = Setup::new();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (0, 0, 0));
    fs::create_dir_all(setup.local("a/b")).unwrap();
    fs::write(setup.local("a/b/c"), content(500_000)).unwrap();
    fs::write(setup.local("empty"), "").unwrap();
    for i in 0..600 {
        fs::write(setup.local(&format!("a/{i}")), format!("number {i}")).unwrap();
    }
    assert_eq!(sync(&setup, SyncOptions::default()).await, (602, 0, 0));
    assert_eq!(fs::read(setup.served("a/b/c")).unwrap(), content(500_000));
    assert_eq!(fs::read(setup.served("empty")).unwrap(), b"");
    assert_eq!(
        fs::read_to_string(setup.served("a/77")).unwrap(),
        "number 77"
    );
    assert_eq!(sync(&setup, SyncOptions::default()).await, (0, 602, 0));
    assert_eq!(sync(&setup, COMPARE).await, (0, 602, 0));
    assert_eq!(setup.all_served(), ["a", "empty"]);
}

#[tokio::test]
async fn patches_changed_parts() {
    let setup = Setup::new();
    let mut new = content(1_000_000);
    fs::write(setup.served("x"), &new).unwrap();
    new[500_000] ^= 1;
    new.extend_from_slice(b"more");
    fs::write(setup.local("x"), &new).unwrap();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (1, 0, 0));
    assert_eq!(fs::read(setup.served("x")).unwrap(), new);

    // Shorter, and reordered.
    new.rotate_left(64 * 1024 * 3);
    new.truncate(400_000);
    fs::write(setup.local("x"), &new).unwrap();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (1, 0, 0));
    assert_eq!(fs::read(setup.served("x")).unwrap(), new);
    assert_eq!(setup.all_served(), ["x"]);
}

#[tokio::test]
async fn another_time_alone_moves_no_content() {
    let setup = Setup::new();
    fs::write(setup.local("x"), content(200_000)).unwrap();
    fs::write(setup.served("x"), content(200_000)).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(setup.local("x"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (0, 1, 0));
    let served = fs::metadata(setup.served("x")).unwrap();
    assert_eq!(served.modified().unwrap(), SystemTime::UNIX_EPOCH);
}

#[tokio::test]
async fn content_is_compared_on_demand() {
    let setup = Setup::new();
    fs::write(setup.local("x"), "abc").unwrap();
    sync(&setup, SyncOptions::default()).await;
    fs::write(setup.served("x"), "abd").unwrap();
    let time = fs::metadata(setup.local("x")).unwrap().modified().unwrap();
    let file = fs::File::options()
        .write(true)
        .open(setup.served("x"))
        .unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (0, 1, 0));
    assert_eq!(sync(&setup, COMPARE).await, (1, 0, 0));
    assert_eq!(fs::read_to_string(setup.served("x")).unwrap(), "abc");
}

#[tokio::test]
async fn nothing_is_removed_without_the_option() {
    let setup = Setup::new();
    fs::create_dir(setup.local("dir")).unwrap();
    fs::write(setup.local("dir/old"), "x").unwrap();
    sync(&setup, SyncOptions::default()).await;
    fs::rename(setup.local("dir/old"), setup.local("new")).unwrap();
    assert_eq!(sync(&setup, SyncOptions::default()).await, (1, 0, 0));
    assert_eq!(setup.all_served(), ["dir", "new"]);
    assert_eq!(sync(&setup, DELETE).await, (0, 1, 1));
    assert_eq!(setup.all_served(), ["new"]);
    fs::remove_file(setup.local("new")).unwrap();
    fs::remove_dir(setup.local("dir")).unwrap();
    assert_eq!(sync(&setup, DELETE).await, (0, 0, 1));
    assert!(setup.all_served().is_empty());
}

#[tokio::test]
async fn a_file_can_become_a_directory_and_back() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "file").unwrap();
    fs::create_dir(setup.local("x")).unwrap();
    fs::write(setup.local("x/y"), "inside").unwrap();
    let without = SyncOptions::default();
    let error = client::sync(&setup.files, &setup.local(""), without)
        .await
        .unwrap_err();
    assert!(message(&error).contains("FAILED_PRECONDITION"), "{error}");
    assert_eq!(sync(&setup, DELETE).await, (1, 0, 1));
    assert_eq!(fs::read_to_string(setup.served("x/y")).unwrap(), "inside");

    fs::remove_dir_all(setup.local("x")).unwrap();
    fs::write(setup.local("x"), "file").unwrap();
    assert_eq!(sync(&setup, DELETE).await, (1, 0, 1));
    assert_eq!(fs::read_to_string(setup.served("x")).unwrap(), "file");
}

#[tokio::test]
async fn a_directory_that_is_not_there_removes_nothing() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "x").unwrap();
    let error = client::sync(&setup.files, &setup.local("none"), DELETE)
        .await
        .unwrap_err();
    assert!(message(&error).contains("No such file"), "{error}");
    assert_eq!(setup.all_served(), ["x"]);
}

#[tokio::test]
async fn a_list_without_its_end_removes_nothing() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "x").unwrap();
    let start = Part::Start(SyncStart {
        delete: true,
        compare_content: false,
    });
    let requests = Streaming::from(vec![SyncRequest { part: Some(start) }]);
    let mut responses = setup.files.sync(requests).await.unwrap();
    responses.message().await.unwrap_err();
    assert_eq!(setup.all_served(), ["x"]);
}

#[tokio::test]
async fn a_failure_among_many_files_is_reported() {
    let setup = Setup::new();
    // Larger than the data in flight, so that neither side is done before the failure.
    fs::write(setup.served("z"), content(5_000_000)).unwrap();
    fs::write(setup.served("b"), "in the way").unwrap();
    fs::create_dir(setup.local("b")).unwrap();
    for i in 0..600 {
        fs::write(setup.local(&format!("b/{i}")), content(1000)).unwrap();
    }
    fs::write(setup.local("a"), content(1_000_000)).unwrap();
    fs::write(setup.local("z"), content(5_000_001)).unwrap();
    let options = SyncOptions::default();
    let error = client::sync(&setup.files, &setup.local(""), options)
        .await
        .unwrap_err();
    assert!(message(&error).contains("FAILED_PRECONDITION"), "{error}");
    // Files that were stored before stay, and there are no partial ones.
    assert_eq!(setup.all_served(), ["a", "b", "z"]);
}
