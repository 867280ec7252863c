//! Follows the README in an empty folder, from a clone of this checkout: runs its commands
//! unchanged, and compares the files that it shows. The pages on migrating are compiled and run
//! too.
//!
//! This compiles all dependencies again, so it runs only with `NMFW_TEST=all`.

#![cfg(test)]

mod folder;
mod page;

use std::{io::Write as _, net::TcpStream, process::Stdio, time::Duration};

use folder::{Folder, LIMIT, address, repository};
use nmfw::prost::Message;
use nmfw_tests::{chosen, eventually, free_port};
use page::Page;
use serde_json::Value;

/// The time limit for building the dependencies, on a machine with other work.
const BUILD: Duration = Duration::from_secs(60 * 60);

/// Runs the broker of the README's last command on a free port.
fn broker(commands: &str) -> (String, u16) {
    let commands = commands.trim_end();
    assert!(commands.ends_with("cargo run --example broker"));
    let port = free_port().unwrap();
    (format!("{commands} -- {port}\n"), port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_service() {
    if !chosen("all") {
        let line = "NOT RUN: the README in an empty folder, which NMFW_TEST=all runs\n";
        _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    let readme = Page::read(&repository(), "README.md");

    let (commands, port) = broker(readme.block("on two cores:"));
    let commands = commands.replace("ADDRESS", &address());
    let folder = Folder::new("first-steps", format!("nats://127.0.0.1:{port}"));
    let mut broker = folder.start(&commands);
    eventually(BUILD, || {
        assert!(broker.is_running(), "the first block failed");
        std::future::ready(TcpStream::connect(("127.0.0.1", port)))
    })
    .await;
    for file in [
        "greeter/proto/greeter.proto",
        "greeter/build.rs",
        "greeter/src/main.rs",
        "greeter/src/bin/hello.rs",
    ] {
        let shown = readme.block(&format!("`{file}`:"));
        assert_eq!(shown, folder.read(file), "{file}");
    }

    let serve = readme.block("The second block starts the service:");
    let hello = readme.block("The third block calls the service and prints `Good day, Ann!`:");
    let mut service = folder.start(serve);
    assert_eq!(folder.printed(hello).await, "Good day, Ann!\n");
    let refused = folder.output("cargo run --bin hello");
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("who?"), "{error}");
    service.interrupt().await;

    second_service(&readme, &folder);
    streams(&readme, &folder, serve).await;
    tool(&readme, &folder).await;
    from_tonic(&folder).await;
    from_micro(&folder).await;
    broker.interrupt().await;
    another_broker(&folder).await;
    fewer_crates(&readme, &folder);
}

fn fewer_crates(readme: &Page, folder: &Folder) {
    let count = || {
        let tree =
            "cargo tree -p greeter -e normal,build --prefix none --no-dedupe | sort -u | wc -l";
        let printed = String::from_utf8(folder.run(tree).stdout).unwrap();
        printed.trim().parse::<usize>().unwrap()
    };
    let before = count();
    folder.run(readme.inline("cargo update -p idna_adapter --precise 1.1.0"));
    assert_eq!(before - count(), 16);
}

/// A second service compiles only itself.
fn second_service(readme: &Page, folder: &Folder) {
    let output = folder.run(readme.block("on the same two cores:"));
    let printed = String::from_utf8(output.stderr).unwrap();
    let compiled: Vec<_> = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Compiling "))
        .collect();
    assert!(
        matches!(compiled[..], [only] if only.starts_with("farewell ")),
        "{compiled:?}"
    );
}

async fn streams(readme: &Page, folder: &Folder, serve: &str) {
    let add = |file: &str, after: &str, what: &str| {
        let text = folder.read(file);
        // Into the service or its implementation, each of which ends with such a line.
        let (start, end) = text.split_once(after).unwrap();
        let (body, end) = end.split_once("\n}\n").unwrap();
        folder.write(file, &format!("{start}{after}{body}\n{what}}}\n{end}"));
    };
    let method = readme.block("`.proto`, in the service:");
    add("greeter/proto/greeter.proto", "service Greeter {", method);
    folder.run(readme.inline("cargo add -p greeter futures-util"));
    let handler = readme.block("`use nmfw::{Stream, Streaming};` above:");
    add("greeter/src/main.rs", "impl Greeter for Polite {", handler);
    let imports = [
        readme.inline("use futures_util::TryStreamExt;"),
        readme.inline("use nmfw::{Stream, Streaming};"),
    ];
    let main = folder.read("greeter/src/main.rs");
    folder.write(
        "greeter/src/main.rs",
        &format!("{}\n{main}", imports.join("\n")),
    );
    let welcome = "greeter/src/bin/welcome.rs";
    folder.write(welcome, readme.block(&format!("in `{welcome}`:")));

    folder.run("cargo build --bins");
    let mut service = folder.start(serve);
    let call = readme.block("this prints `Come in, Ann!` and `Come in, Bob!`:");
    assert_eq!(folder.printed(call).await, "Come in, Ann!\nCome in, Bob!\n");
    service.interrupt().await;
}

/// Builds the service as a command-line tool.
async fn tool(readme: &Page, folder: &Folder) {
    folder.run(readme.inline("cargo add -p greeter --path nmfw/nmfw --features cli"));
    let main = folder.read("greeter/src/main.rs");
    let (kept, _) = main.split_once("#[tokio::main]").unwrap();
    let kept = kept.replace("Context, Server, Status", "Context, Status");
    let tool = readme.block("is then just:");
    folder.write("greeter/src/main.rs", &format!("{kept}{tool}"));

    folder.run("cargo build --bins");
    let greeter = "target/debug/greeter";
    let version = folder.run(&format!("{greeter} --version")).stdout;
    let version = String::from_utf8(version).unwrap();
    assert!(version.starts_with("greeter 0.1.0 (nmfw "), "{version}");
    let mut service = folder.start(&format!("{greeter} run --methods Hello"));
    assert_eq!(
        folder.printed("target/debug/hello Ann").await,
        "Good day, Ann!\n"
    );
    assert!(!folder.output("target/debug/welcome Bob").status.success());
    service.interrupt().await;
}

/// The service and the client after the page's diffs.
async fn from_tonic(folder: &Folder) {
    let page = Page::read(&repository(), "docs/from-tonic.md");
    let proto = "hello-world/proto/helloworld.proto";
    folder.write(
        proto,
        page.block(&format!("`{proto}`, which stays as it is:")),
    );
    let files = page.patched();
    assert_eq!(files.len(), 4);
    for (file, text) in files {
        folder.write(&file, &text);
    }
    let main = "hello-world/src/main.rs";
    let tests = page.block("end of the service's `main.rs`:");
    folder.write(main, &format!("{}\n{tests}", folder.read(main)));
    folder.add_member("hello-world");

    folder.run("cargo build --bins");
    let mut service = folder.start("exec target/debug/hello-world");
    let printed = folder.printed("target/debug/client").await;
    assert_eq!(printed, "Welcome, Ann!\n");
    service.interrupt().await;
    folder.run("cargo test --workspace --bin hello-world");
}

/// The service has the subjects of the micro service, and answers plain requests.
async fn from_micro(folder: &Folder) {
    let page = Page::read(&repository(), "docs/from-micro-and-go-nmfw.md");
    for (file, end) in [
        (
            "numbers/proto/numbers.proto",
            "`numbers/proto/numbers.proto`:",
        ),
        ("numbers/Cargo.toml", "crates are not on crates.io yet:"),
        ("numbers/build.rs", "In `numbers/build.rs`:"),
        ("numbers/src/main.rs", "And in `numbers/src/main.rs`:"),
    ] {
        folder.write(file, page.block(end));
    }
    folder.add_member("numbers");

    folder.run("cargo build --bins");
    let mut service = folder.start("exec target/debug/numbers");
    let client = async_nats::connect(&folder.nats_url).await.unwrap();
    let request = async |subject: &str, body: Vec<u8>| {
        eventually(LIMIT, || {
            client.request(subject.to_owned(), body.clone().into())
        })
        .await
    };
    let info = request("$SRV.INFO.numbers", Vec::new()).await;
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["version"], "1.0.0");
    assert_eq!(info["description"], "Adds numbers");
    let endpoint = &info["endpoints"][0];
    assert_eq!(endpoint["subject"], "acme.numbers.add");
    assert_eq!(endpoint["queue_group"], "q");

    let numbers = Numbers {
        values: vec![1.5, 2.0],
    };
    let answer = request("acme.numbers.add", numbers.encode_to_vec()).await;
    assert_eq!(Sum::decode(answer.payload).unwrap(), Sum { value: 3.5 });
    let refused = request("acme.numbers.add", Vec::new()).await;
    let headers = refused.headers.unwrap();
    let header = |name: &str| headers.get(name).unwrap().as_str();
    assert_eq!(header("Nats-Service-Error"), "no values");
    assert_eq!(header("Nats-Service-Error-Code"), "3");
    service.interrupt().await;
}

/// The messages as defined in other languages.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "nmfw::prost")]
struct Numbers {
    #[prost(double, repeated, tag = "1")]
    values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "nmfw::prost")]
struct Sum {
    #[prost(double, tag = "1")]
    value: f64,
}

/// The broker prints its address, and stops cleanly; or it reports why it cannot listen.
async fn another_broker(folder: &Folder) {
    let example = "target/debug/examples/broker";
    let port = free_port().unwrap();
    let mut shell = folder.shell(&format!("exec {example} {port}"));
    let mut broker = shell.stdout(Stdio::piped()).spawn().unwrap();
    eventually(LIMIT, || async { TcpStream::connect(("127.0.0.1", port)) }).await;
    let taken = folder.output(&format!("{example} {port}"));
    folder.run(&format!("kill -s INT {}", broker.id()));
    let status = eventually(LIMIT, || std::future::ready(broker.try_wait().unwrap())).await;
    assert!(status.success(), "{status}");
    let printed = std::io::read_to_string(broker.stdout.take().unwrap()).unwrap();
    assert!(
        printed.contains(&format!("nats://127.0.0.1:{port}")),
        "{printed}"
    );

    for (output, reason) in [
        (taken, "cannot listen"),
        (folder.output(&format!("{example} x")), "is not a port"),
    ] {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(reason),
            "{error}"
        );
    }
}
