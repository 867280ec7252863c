//! Follows the README: makes the crate that it describes, with its commands and its files, builds
//! it, and calls the service over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::Duration,
};

use nmfw_tests::{NatsServer, eventually};

const LIMIT: Duration = Duration::from_secs(20);

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// The text of the first fenced block after a line that ends so.
fn block<'a>(readme: &'a str, end: &str) -> &'a str {
    let (_, rest) = readme
        .split_once(&format!("{end}\n"))
        .unwrap_or_else(|| panic!("the README has no line that ends with {end:?}"));
    let (_, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```").unwrap().0
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended by itself if the test got that far.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_minutes() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let greeter = dir.path().join("greeter");

    // "Make a crate beside this repository": beside means elsewhere here.
    let commands =
        block(&readme, "and add what it needs:").replace("../greeter", greeter.to_str().unwrap());
    run(Command::new("sh")
        .args(["-ec", &commands])
        .current_dir(repository()));
    for file in [
        "proto/greeter.proto",
        "build.rs",
        "src/main.rs",
        "src/bin/hello.rs",
        "src/bin/welcome.rs",
    ] {
        let path = greeter.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, block(&readme, &format!("in `{file}`:"))).unwrap();
    }
    let add = |file: &str, after: &str, what: &str| {
        let path = greeter.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        // Into the service, or its implementation, which end with a line of this alone.
        let (start, end) = text.split_once(after).unwrap();
        let (body, end) = end.split_once("\n}\n").unwrap();
        let text = format!("{start}{after}{body}\n{what}}}\n{end}");
        std::fs::write(&path, text).unwrap();
    };
    let method = block(&readme, "`.proto`, in the service:");
    add("proto/greeter.proto", "service Greeter {", method);
    let handler = block(&readme, "use nmfw::{Stream, Streaming};` above:");
    add("src/main.rs", "impl Greeter for Polite {", handler);
    let main = std::fs::read_to_string(greeter.join("src/main.rs")).unwrap();
    let imports = "use futures_util::TryStreamExt;\nuse nmfw::{Stream, Streaming};\n";
    std::fs::write(greeter.join("src/main.rs"), format!("{imports}{main}")).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["add", "futures-util"])
        .current_dir(&greeter));
    // The versions that everything else here is tested with.
    std::fs::copy(repository().join("Cargo.lock"), greeter.join("Cargo.lock")).unwrap();

    // Kept between runs, and apart from the workspace, whose folder may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let build = || {
        run(Command::new(env!("CARGO"))
            .arg("build")
            .current_dir(&greeter)
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "-D warnings"));
    };
    build();

    let nats = NatsServer::start().await.unwrap();
    let start = |name: &str| {
        let mut command = Command::new(target.join("debug").join(name));
        command
            .env("NATS_URL", nats.url())
            .env_remove("NATS_CONTEXT");
        command
    };
    let mut service = Service(start("greeter").spawn().unwrap());
    let said = eventually(LIMIT, || async {
        let output = start("hello").arg("Ann").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        output
            .status
            .success()
            .then_some(output.stdout)
            .ok_or(error)
    })
    .await;
    assert_eq!(String::from_utf8_lossy(&said), "Good day, Ann!\n");

    let said = run(start("welcome").args(["Ann", "Bob"])).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(said, "Come in, Ann!\nCome in, Bob!\n");

    let refused = start("hello").output().unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("who?"), "{error}");

    let end = async |service: &mut Service| {
        let pid = service.0.id().to_string();
        run(Command::new("kill").args(["-TERM", &pid]));
        eventually(LIMIT, || std::future::ready(service.0.try_wait().unwrap())).await
    };
    let status = end(&mut service).await;
    assert!(status.success(), "{status}");

    // The same as a tool.
    run(Command::new(env!("CARGO"))
        .args(["add", "nmfw", "--features", "cli"])
        .current_dir(&greeter));
    let main = std::fs::read_to_string(greeter.join("src/main.rs")).unwrap();
    let (kept, _) = main.split_once("#[tokio::main]").unwrap();
    let tool = block(&readme, "This is then all of `main`, in `src/main.rs`:");
    let kept = kept.replace("Context, Server, Status", "Context, Status");
    std::fs::write(greeter.join("src/main.rs"), format!("{kept}{tool}")).unwrap();
    build();
    let version = String::from_utf8(run(start("greeter").arg("--version")).stdout).unwrap();
    assert!(version.starts_with("greeter 0.1.0 (nmfw "), "{version}");
    let mut service = Service(
        start("greeter")
            .args(["run", "--methods", "Hello"])
            .spawn()
            .unwrap(),
    );
    eventually(LIMIT, || async {
        start("hello").arg("Ann").status().unwrap().success()
    })
    .await;
    assert!(!start("welcome").arg("Bob").status().unwrap().success());
    let status = end(&mut service).await;
    assert!(status.success(), "{status}");
}
