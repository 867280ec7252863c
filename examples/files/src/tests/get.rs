use std::fs;

use nmfw::Code;

use super::{Setup, content, message};
use crate::{
    checksum::Checksum,
    client,
    files::{GetRequest, Prefix, get_response::Part},
};

const SIZE: usize = 300_000;
const PARTIAL: &str = "out.files-partial";

#[tokio::test]
async fn fetches_files_of_all_sizes() {
    let setup = Setup::new();
    for size in [0, 1, 64 * 1024, SIZE] {
        fs::write(setup.served("x"), content(size)).unwrap();
        let checksum = client::get(&setup.files, "x", &setup.local("out")).await;
        assert_eq!(checksum.unwrap(), Checksum::of(&content(size)));
        assert_eq!(fs::read(setup.local("out")).unwrap(), content(size));
    }
    let time = |path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(setup.local("out")), time(setup.served("x")));
    assert_eq!(setup.all_local(), ["out"]);
}

#[tokio::test]
async fn continues_after_the_received_data() {
    let setup = Setup::new();
    fs::write(setup.served("x"), content(SIZE)).unwrap();
    for size in [0, 1, SIZE / 2, SIZE] {
        fs::write(setup.local(PARTIAL), &content(SIZE)[..size]).unwrap();
        client::get(&setup.files, "x", &setup.local("out"))
            .await
            .unwrap();
        assert_eq!(fs::read(setup.local("out")).unwrap(), content(SIZE));
        assert_eq!(setup.all_local(), ["out"]);
    }
}

#[tokio::test]
async fn only_missing_data_is_sent() {
    let setup = Setup::new();
    fs::write(setup.served("x"), content(SIZE)).unwrap();
    let request = GetRequest {
        name: "x".to_owned(),
        have: Some(Prefix {
            size: SIZE as u64 - 10,
            sha256: Checksum::of(&content(SIZE - 10)).to_bytes(),
        }),
    };
    let mut responses = setup.files.get(request).await.unwrap();
    let mut parts = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        parts.push(response.part.unwrap());
    }
    let [Part::Header(header), Part::Data(data), Part::Sha256(sum)] = &parts[..] else {
        panic!("{parts:?}");
    };
    assert_eq!(header.offset, SIZE as u64 - 10);
    assert_eq!(data, &content(SIZE)[SIZE - 10..]);
    assert_eq!(sum, Checksum::of(&content(SIZE)).as_bytes());
}

#[tokio::test]
async fn begins_anew_if_the_file_is_another_one() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "new").unwrap();
    for partial in ["old content", "ol"] {
        fs::write(setup.local(PARTIAL), partial).unwrap();
        client::get(&setup.files, "x", &setup.local("out"))
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(setup.local("out")).unwrap(), "new");
        assert_eq!(setup.all_local(), ["out"]);
    }
}

#[tokio::test]
async fn failed_transfers_leave_no_files() {
    let setup = Setup::new();
    fs::create_dir(setup.served("dir")).unwrap();
    fs::write(setup.local("out"), "old").unwrap();
    for (name, text) in [
        ("none", "No such file"),
        ("dir", "is not a file"),
        ("../x", "is not a valid file name"),
    ] {
        let error = client::get(&setup.files, name, &setup.local("out"))
            .await
            .unwrap_err();
        assert!(message(&error).contains(text), "{error}");
        assert_eq!(setup.all_local(), ["out"]);
        assert_eq!(fs::read_to_string(setup.local("out")).unwrap(), "old");
    }
    fs::write(setup.served("x"), "x").unwrap();
    let error = client::get(&setup.files, "x", &setup.local(""))
        .await
        .unwrap_err();
    assert!(message(&error).contains("irectory"), "{error}");
}

#[tokio::test]
async fn two_do_not_write_into_one_file() {
    let setup = Setup::new();
    fs::write(setup.served("x"), "x").unwrap();
    let other = fs::File::create(setup.local(PARTIAL)).unwrap();
    other.lock().unwrap();
    let error = client::get(&setup.files, "x", &setup.local("out"))
        .await
        .unwrap_err();
    assert!(message(&error).contains("another transfer"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn links_that_lead_out_are_not_followed() {
    let setup = Setup::new();
    fs::write(setup.local("secret"), "secret").unwrap();
    fs::create_dir(setup.served("dir")).unwrap();
    fs::write(setup.served("dir/x"), "inside").unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, setup.served(name)).unwrap();
    link("../local/secret", "file");
    link("../local", "away");
    link("/etc", "etc");
    link("dir/x", "near");
    link("dir", "beside");
    for name in ["file", "away/secret", "etc/passwd"] {
        let request = GetRequest {
            name: name.to_owned(),
            have: None,
        };
        let status = setup.files.get(request).await.map(|_| ()).unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{name}: {status}");
        // Neither file is changed.
        let path = setup.served("dir/x");
        let put = client::put(&setup.files, &path, &format!("{name}/y")).await;
        assert!(put.is_err(), "{name}");
    }
    for name in ["near", "beside/x"] {
        client::get(&setup.files, name, &setup.local("out"))
            .await
            .unwrap();
    }
    let listed = setup.files.list(Default::default()).await.unwrap().files;
    let listed: Vec<_> = listed.iter().map(|file| &*file.name).collect();
    assert_eq!(listed, ["dir/x", "near"]);
}
