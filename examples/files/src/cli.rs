//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nmfw::Connection;

/// A file transfer on NATS
///
/// `files serve` keeps files in a directory; the other commands, anywhere on the same NATS, store,
/// fetch, list, watch and synchronize them. SHA-256 verifies every transfer, and a file gets its
/// name only once it is complete.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 on success, 1 on failure, with the reason on standard error, 2 if \
                  the command line is invalid, 130 if interrupted."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the service until SIGINT or SIGTERM
    Serve(Serve),
    /// Store a file; prints its checksum as sha256sum does
    ///
    /// An existing file of that name is replaced when the new one is complete. If several puts use
    /// the same name, the last one to finish wins. An aborted put leaves no trace.
    Put {
        #[command(flatten)]
        nats: Nats,
        /// The file
        file: PathBuf,
        /// Store it under another name, such as dir/other.txt
        #[arg(long)]
        name: Option<String>,
    },
    /// Fetch a file; prints its checksum as sha256sum does
    ///
    /// An interrupted transfer is kept in OUT.files-partial, and the next one continues from there.
    Get {
        #[command(flatten)]
        nats: Nats,
        /// The file's name, as `files ls` shows it
        name: String,
        /// Output file [default: its name, in the current directory]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the files: size in bytes, modification time, name
    Ls {
        #[command(flatten)]
        nats: Nats,
        /// List only this sub-directory
        #[arg(default_value = "", hide_default_value = true)]
        directory: String,
    },
    /// Print changes until interrupted
    ///
    /// Waits for the service if it becomes unavailable, and prints a note.
    Watch {
        #[command(flatten)]
        nats: Nats,
        /// Watch only this sub-directory
        #[arg(default_value = "", hide_default_value = true)]
        directory: String,
    },
    /// Make the service's files match a directory
    ///
    /// Works in one direction, from here to the service, and sends only the blocks that differ.
    /// Files of the same size and time are considered equal. A renamed file is sent as a new one,
    /// and the old one stays: nothing is removed without --delete.
    Sync {
        #[command(flatten)]
        nats: Nats,
        /// The directory
        dir: PathBuf,
        /// Remove files from the service that are not in DIR
        #[arg(long)]
        delete: bool,
        /// Also compare the content of files of the same size and time
        #[arg(long)]
        checksum: bool,
    },
    /// Start a broker and the service, run every command in a temporary directory, and end
    Demo,
}

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) nats: Nats,
    /// The directory with the files
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Start a NATS broker in this process and serve on it, to try things out
    #[arg(long, conflicts_with_all = ["server", "context"])]
    pub(crate) embedded: bool,
}

/// The NATS connection. The default is $NATS_CONTEXT, $NATS_URL, the context that the nats command
/// has selected, or nats://localhost:4222.
#[derive(Args)]
pub(crate) struct Nats {
    /// URLs of the NATS servers, separated by commas [default: $NATS_URL]
    #[arg(long, value_name = "URL", conflicts_with = "context")]
    pub(crate) server: Option<String>,
    /// A context of the nats command, by name or path [default: $NATS_CONTEXT]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl Nats {
    pub(crate) async fn connect(&self) -> Result<Connection, nmfw::Error> {
        match (&self.server, &self.context) {
            (Some(urls), _) => nmfw::connect(urls.as_str()).await,
            (None, Some(context)) => nmfw::connect_context(context).await,
            (None, None) => nmfw::connect_env().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
