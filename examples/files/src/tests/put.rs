use std::{fs, time::Duration};

use nmfw::{Code, Status, Streaming};

use super::{Setup, content, message};
use crate::{
    checksum::Checksum,
    client,
    files::{FileInfo, PutRequest, put_request::Part},
};

fn header(name: &str, size: u64) -> Part {
    Part::Header(FileInfo {
        name: name.to_owned(),
        size,
        modified: None,
    })
}

fn data(text: &'static str) -> Part {
    Part::Data(text.into())
}

fn end(text: &str) -> Part {
    Part::Sha256(Checksum::of(text.as_bytes()).to_bytes())
}

async fn put(setup: &Setup, parts: Vec<Part>) -> Result<(), Status> {
    let requests = parts
        .into_iter()
        .map(|part| PutRequest { part: Some(part) });
    let requests = Streaming::from(requests.collect::<Vec<_>>());
    setup.files.put(requests).await.map(|_| ())
}

#[tokio::test]
async fn stores_files_of_all_sizes() {
    let setup = Setup::new();
    for size in [0, 1, 64 * 1024, 64 * 1024 + 1, 1_000_000] {
        let (path, content) = (setup.local("x"), content(size));
        fs::write(&path, &content).unwrap();
        let checksum = client::put(&setup.files, &path, "dir/sub/x").await.unwrap();
        assert_eq!(checksum, Checksum::of(&content));
        assert_eq!(fs::read(setup.served("dir/sub/x")).unwrap(), content);
        let time = |path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(setup.served("dir/sub/x")), time(path));
    }
    assert_eq!(setup.all_served(), ["dir"]);
}

#[tokio::test]
async fn failed_puts_keep_the_existing_file() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "old").unwrap();
    for (parts, code) in [
        (vec![], Code::InvalidArgument),
        (vec![data("abc")], Code::InvalidArgument),
        (vec![header("../x", 0), end("")], Code::InvalidArgument),
        (vec![header("/x", 0), end("")], Code::InvalidArgument),
        (vec![header("x", 3)], Code::InvalidArgument),
        (vec![header("x", 3), data("abc")], Code::InvalidArgument),
        (vec![header("x", 3), header("x", 3)], Code::InvalidArgument),
        (
            vec![header("x", 3), data("ab"), end("ab")],
            Code::InvalidArgument,
        ),
        (
            vec![header("x", 3), data("abcd"), end("abcd")],
            Code::InvalidArgument,
        ),
        (
            vec![header("x", 3), data("abc"), Part::Sha256("short".into())],
            Code::InvalidArgument,
        ),
        (
            vec![header("x", 3), data("abd"), end("abc")],
            Code::DataLoss,
        ),
        (vec![header("x/y", 0), end("")], Code::FailedPrecondition),
    ] {
        let status = put(&setup, parts).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert_eq!(setup.all_served(), ["x"], "{status}");
        assert_eq!(fs::read_to_string(setup.served("x")).unwrap(), "old");
    }
    fs::create_dir(setup.served("dir")).unwrap();
    let status = put(&setup, vec![header("dir", 0), end("")])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[tokio::test]
async fn given_up_half_way_nothing_is_left() {
    let setup = Setup::new();
    let (requests, queue) = Streaming::channel(1);
    let files = setup.files.clone();
    let call = tokio::spawn(async move { files.put(queue).await });
    for part in [header("new/x", 6), data("abc")] {
        requests
            .send(PutRequest { part: Some(part) })
            .await
            .unwrap();
    }
    let temporary = || setup.all_served().len() == 1;
    wait_until(temporary).await;
    assert!(
        setup
            .files
            .list(Default::default())
            .await
            .unwrap()
            .files
            .is_empty()
    );
    call.abort();
    wait_until(|| setup.all_served().is_empty()).await;
}

#[tokio::test]
async fn of_two_at_a_time_the_last_one_stays() {
    let setup = Setup::new();
    let mut puts = Vec::new();
    for _ in 0..2 {
        let (requests, queue) = Streaming::channel(1);
        let files = setup.files.clone();
        let call = tokio::spawn(async move { files.put(queue).await });
        let first = header("x", 1);
        requests
            .send(PutRequest { part: Some(first) })
            .await
            .unwrap();
        puts.push((requests, call));
    }
    for (text, (requests, call)) in ["a", "b"].into_iter().zip(puts) {
        for part in [data(text), end(text)] {
            requests
                .send(PutRequest { part: Some(part) })
                .await
                .unwrap();
        }
        call.await.unwrap().unwrap();
        assert_eq!(fs::read_to_string(setup.served("x")).unwrap(), text);
    }
    assert_eq!(setup.all_served(), ["x"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_an_error_here() {
    let setup = Setup::new();
    let error = client::put(&setup.files, &setup.local("none"), "x")
        .await
        .unwrap_err();
    assert!(message(&error).contains("No such file"), "{error}");
    let error = client::put(&setup.files, &setup.local(""), "x")
        .await
        .unwrap_err();
    assert!(message(&error).contains("is not a file"), "{error}");
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the file never had this content");
}
