//! Transfers a large file through a NATS server that accepts only small messages and is killed
//! repeatedly.

#![cfg(test)]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nmfw_tests::{NatsServer, eventually};

const SIZE: u64 = 200 << 20;
const LIMIT: Duration = Duration::from_secs(120);

/// A command that is killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the process has already ended, as it does in a successful test.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
        command.args(arguments).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Kills and restarts the server repeatedly, each time after more data has arrived.
    async fn survives(&mut self, server: &mut NatsServer, arrived: impl Fn() -> u64) {
        for part in 1..=3 {
            eventually(LIMIT, || async { arrived() > SIZE / 5 * part }).await;
            assert!(self.0.try_wait().unwrap().is_none(), "it is over too soon");
            server.kill().unwrap();
            server.restart().await.unwrap();
        }
        let ended = || std::future::ready(self.0.try_wait().unwrap());
        let status = eventually(LIMIT, ended).await;
        assert!(status.success(), "{status}");
    }
}

/// Returns the size of the temporary files below a directory.
fn temporary(dir: &Path, mark: &str) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().contains(mark));
    ours.filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

fn write_random(path: &Path) {
    // xorshift64: incompressible and without repetition.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let content: Vec<u8> = (0..SIZE / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    std::fs::write(path, content).unwrap();
}

fn assert_same(one: &Path, other: &Path) {
    let same = std::fs::read(one).unwrap() == std::fs::read(other).unwrap();
    assert!(same, "{} and {}", one.display(), other.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_survive_three_dead_servers() {
    let builder = NatsServer::builder().max_payload(64 * 1024);
    let mut server = builder.start().await.unwrap();
    let url = server.url();
    let dir = tempfile::tempdir().unwrap();
    let (store, there, back) = (
        dir.path().join("store"),
        dir.path().join("large.bin"),
        dir.path().join("back.bin"),
    );
    std::fs::create_dir(&store).unwrap();
    write_random(&there);
    let text = |path: &Path| path.to_str().unwrap().to_owned();

    let serve = ["serve", "--dir", &text(&store), "--server", &url];
    let _service = Running::start(&serve);
    eventually(LIMIT, || async {
        let mut ls = Running::start(&["ls", "--server", &url]);
        ls.0.wait().unwrap().success()
    })
    .await;

    let mut put = Running::start(&["put", &text(&there), "--server", &url]);
    put.survives(&mut server, || temporary(&store, ".part"))
        .await;
    assert_same(&there, &store.join("large.bin"));
    assert_eq!(temporary(&store, ".part"), 0);

    let get = ["get", "large.bin", "--out", &text(&back), "--server", &url];
    let mut get = Running::start(&get);
    let arrived = || temporary(dir.path(), "back.bin.files-partial");
    get.survives(&mut server, arrived).await;
    assert_same(&there, &back);
    assert_eq!(arrived(), 0);
}
