//! Tests the files in `deploy/` with a real NATS server: its users have the permissions for their
//! work, and no others.

#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nmfw_tests::{NatsServer, eventually, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CALC: &str = env!("CARGO_BIN_EXE_calc");
const LIMIT: Duration = Duration::from_secs(30);

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns `nats.conf` with its includes, without the listen addresses of a container.
fn nats_conf(folder: &Path) -> String {
    let mut text = String::new();
    for line in read(&folder.join("nats.conf")).lines() {
        let word = line.trim();
        if let Some(file) = word.strip_prefix("include ") {
            text += &read(&folder.join(file.trim_matches('"')));
        } else if !["server_name:", "listen:", "http:"]
            .iter()
            .any(|key| word.starts_with(key))
        {
            text += line;
        }
        text.push('\n');
    }
    text
}

/// Returns the command with the variables of the files in `deploy/`, without other variables that
/// it reads.
fn calc(context: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CALC);
    for variable in [
        "NATS_URL",
        "NATS_CONTEXT",
        "MAX_RECON",
        "NMFW_PORT",
        "PORT",
        "NMFW_DEBUG",
        "DEBUG",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command.env("CONTEXT", context).args(arguments);
    command
}

fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// A running `calc run`, started as in a container; killed when dropped.
struct Instance {
    child: Child,
    port: u16,
}

impl Instance {
    fn start(context: &Path) -> Self {
        let port = free_port().unwrap();
        let mut command = calc(context, &["run"]);
        command.env("PORT", port.to_string()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self { child, port }
    }

    /// Returns the status and the body, or `None` if the port is closed.
    async fn get(&self, path: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: calc\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?;
        Some((status.to_owned(), body.to_owned()))
    }

    async fn is_ready(&self) {
        eventually(LIMIT, || async {
            self.get("/readyz")
                .await
                .is_some_and(|(status, _)| status == "200")
        })
        .await;
    }

    fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Fails if the process has already ended, as it does in a successful test.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn permissions_are_those_that_calc_prints() {
    for role in ["service", "client", "observer"] {
        let printed = output(calc(Path::new(""), &["permissions", "--role", role]));
        let printed = String::from_utf8(printed.stdout).unwrap();
        let file = deploy().join("permissions").join(format!("{role}.conf"));
        assert_eq!(
            read(&file),
            printed,
            "deploy/README.md describes how to renew it"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_nats_conf_can_do_their_work_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for file in ["make-secrets", "nats.conf", "permissions"] {
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(deploy().join(file)).arg(folder);
        assert!(copy.status().unwrap().success());
    }
    let port = free_port().unwrap();
    let made = Command::new(folder.join("make-secrets"))
        .arg(format!("nats://127.0.0.1:{port}"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let _server = NatsServer::builder()
        .port(port)
        .config(nats_conf(folder))
        .start()
        .await
        .unwrap();
    let context = |user: &str| folder.join(format!("secrets/{user}.json"));

    let mut first = Instance::start(&context("service"));
    let second = Instance::start(&context("service"));
    first.is_ready().await;
    second.is_ready().await;

    let add = |user: &str| output(calc(&context(user), &["add", "1", "2"]));
    assert_eq!(add("client").stdout, b"3\n");
    for user in ["service", "observer"] {
        let refused = add(user);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: PERMISSION_DENIED"), "{said}");
    }
    for user in ["client", "observer"] {
        let refused = output(calc(&context(user), &["run"]));
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }

    let (status, metrics) = second.get("/metrics").await.unwrap();
    assert_eq!(status, "200");
    let gauge = r#"nmfw_server_utilization_ratio{service="calc",function="Add"}"#;
    assert!(metrics.contains(gauge), "{metrics}");

    assert_eq!(first.terminate(), Some(0));
    assert_eq!(add("client").stdout, b"3\n");
}
