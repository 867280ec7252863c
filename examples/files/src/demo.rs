//! `files demo`: broker, service and client in one process, with nothing to install.

use std::{fs, path::Path};

use nmfw::{Channel, NatsChannel as _, Server, embedded::Broker};

use crate::{
    client::{self, Error, SyncOptions, line},
    files::{FilesClient, FilesServer, WatchRequest, change::Kind, watch_response::Event},
    service::FileService,
    store::Store,
};

const SIZE: usize = 5_000_000;

/// Starts a broker and the service, transfers files in a temporary directory, and ends.
pub(crate) async fn run() -> Result<(), Error> {
    let temporary = tempfile::tempdir()?;
    let [served, local] = ["served", "local"].map(|name| temporary.path().join(name));
    fs::create_dir(&served)?;
    fs::create_dir(&local)?;

    let broker = Broker::start().await?;
    line(format_args!("A broker listens on {}", broker.url()))?;
    let service = FileService::new(Store::open(&served)?);
    let server = Server::new(nmfw::connect(broker.url()).await?)
        .add_service(FilesServer::new(service))
        .start()
        .await?;
    // A separate connection, as for a client in another process.
    let nats = nmfw::connect(broker.url()).await?;
    let files = FilesClient::new(Channel::new(&nats).multiplexed());

    let mut events = files.watch(WatchRequest::default()).await?;

    line("\nput, a stream of requests:")?;
    let original = local.join("numbers.bin");
    fs::write(&original, content())?;
    let checksum = client::put(&files, &original, "numbers.bin").await?;
    line(format_args!("{checksum}  numbers.bin"))?;

    line("\nls, one request and one response:")?;
    client::list(&files, String::new()).await?;

    line("\nget, a stream of responses, after an attempt that was interrupted half way:")?;
    let copy = temporary.path().join("copy.bin");
    let partial = temporary.path().join("copy.bin.files-partial");
    fs::write(partial, &content()[..SIZE / 2])?;
    let fetched = client::get(&files, "numbers.bin", &copy).await?;
    line(format_args!("{fetched}  copy.bin"))?;
    check(fetched == checksum && fs::read(&copy)? == content())?;

    line("\nsync, streams in both directions, after a change in the middle and a new file:")?;
    let mut changed = content();
    changed[SIZE / 2] ^= 1;
    fs::write(&original, &changed)?;
    fs::create_dir(local.join("notes"))?;
    fs::write(local.join("notes/hello.txt"), "hello")?;
    sync(&files, &local, false).await?;
    check(fs::read(served.join("numbers.bin"))? == changed)?;

    line("\nsync --delete, after a file was removed:")?;
    fs::remove_file(&original)?;
    sync(&files, &local, true).await?;
    check(!served.join("numbers.bin").exists())?;

    line("\nwatch, a stream of responses, reported meanwhile:")?;
    while let Some(event) = events.message().await? {
        if let Some(Event::Change(change)) = event.event {
            line(client::describe(&change))?;
            if change.kind() == Kind::Removed {
                break;
            }
        }
    }
    drop(events);

    server.stop();
    server.join().await?;
    broker.shutdown().await;
    line("\nDone: service and broker have stopped.")?;
    Ok(())
}

async fn sync(files: &FilesClient, local: &Path, delete: bool) -> Result<(), Error> {
    let options = SyncOptions {
        delete,
        ..SyncOptions::default()
    };
    let done = client::sync(files, local, options).await?;
    line(client::summary(&done))?;
    Ok(())
}

fn content() -> Vec<u8> {
    // All blocks differ.
    (0u32..).flat_map(u32::to_le_bytes).take(SIZE).collect()
}

fn check(right: bool) -> Result<(), Error> {
    if right {
        Ok(())
    } else {
        Err("the files differ from the expected ones".into())
    }
}
