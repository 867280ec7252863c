//! File transfer over NATS: the service and its commands in one binary.

mod blocking;
mod changes;
mod checksum;
mod cli;
mod client;
mod content;
mod delta;
mod demo;
mod error;
mod names;
mod serve;
mod service;
mod store;
#[cfg(test)]
mod tests;

/// The code generated from `proto/files.proto`.
#[allow(unreachable_pub, reason = "generated for libraries too")]
mod files {
    nmfw::include_proto!("files");
}

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use cli::{Cli, Command, Nats};
use client::{Error, SyncOptions, line, plain};
use files::FilesClient;
use nmfw::{Channel, NatsChannel as _, Status};

/// Time limit for closing the connection.
const GOODBYE: Duration = Duration::from_secs(1);
/// Exit status of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(exit) => exit,
        // The reader has closed the pipe, as with `head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&describe(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Serve(options) => serve::serve(&options).await?,
        Command::Demo => demo::run().await?,
        Command::Put { nats, file, name } => {
            let name = name_for(name, &file)?;
            return call(&nats, async |files| {
                let checksum = client::put(files, &file, &name).await?;
                Ok(line(format_args!("{checksum}  {name}"))?)
            })
            .await;
        }
        Command::Get { nats, name, out } => {
            let out = out.unwrap_or_else(|| PathBuf::from(file_name(&name)));
            return call(&nats, async |files| {
                let checksum = client::get(files, &name, &out).await?;
                Ok(line(format_args!("{checksum}  {}", out.display()))?)
            })
            .await;
        }
        Command::Ls { nats, directory } => {
            return call(&nats, async |files| client::list(files, directory).await).await;
        }
        Command::Watch { nats, directory } => {
            return call(&nats, async |files| client::watch(files, &directory).await).await;
        }
        Command::Sync {
            nats,
            dir,
            delete,
            checksum,
        } => {
            let options = SyncOptions {
                delete,
                compare_content: checksum,
            };
            return call(&nats, async |files| {
                let done = client::sync(files, &dir, options).await?;
                Ok(line(client::summary(&done))?)
            })
            .await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `work` with the service. On Ctrl-C it is dropped, which cancels its call: an aborted put
/// leaves no trace.
async fn call(
    nats: &Nats,
    work: impl AsyncFnOnce(&FilesClient) -> Result<(), Error>,
) -> Result<ExitCode, Error> {
    let connecting = nats.connect();
    let interrupted = nmfw::shutdown_signal().recv();
    tokio::pin!(interrupted);
    let nats = tokio::select! {
        connection = connecting => connection?,
        () = &mut interrupted => return Ok(ExitCode::from(INTERRUPTED)),
    };
    // Multiplexed, because a long list of files is larger than a NATS message.
    let files = FilesClient::new(Channel::new(&nats).multiplexed());
    let done = tokio::select! {
        done = work(&files) => done.map(|()| ExitCode::SUCCESS),
        () = &mut interrupted => {
            report("interrupted");
            Ok(ExitCode::from(INTERRUPTED))
        }
    };
    // Closes the session, so that the service does not have to detect it.
    drop(files);
    _ = nats.close(GOODBYE).await;
    done
}

/// Returns the name to store a file under: the given one, or the file's own.
fn name_for(name: Option<String>, file: &Path) -> Result<String, Error> {
    if let Some(name) = name {
        return Ok(name);
    }
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| format!("{file:?} has no file name: set a name with --name"))?;
    Ok(name.to_owned())
}

fn file_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

fn is_broken_pipe(error: &Error) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Formats an error and its causes on one line.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(status) = error.downcast_ref::<Status>() {
        // The source of a status, if any, has the same text.
        return status.to_string();
    }
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

#[allow(clippy::print_stderr, reason = "errors are printed on standard error")]
fn report(error: &str) {
    eprintln!("error: {}", plain(error));
}
