//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nmfw::Connection;

/// A file transfer on NATS
///
/// One `files serve` keeps files in a directory; the other commands, anywhere on the same NATS,
/// store, fetch, list, watch and synchronize them. Every transfer is checked by SHA-256, and a file
/// has its name only when it is whole.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 if all is well, 1 if not, with the reason on standard error, \
                  2 if the command line is wrong, 130 if interrupted."
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
    /// What the name had before is replaced when the new file is whole. Of several puts of one name
    /// at a time, the one that ends last stays. A put that is given up leaves nothing.
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
    /// A transfer that breaks off keeps what has arrived in OUT.files-partial, and the next one
    /// goes on from there.
    Get {
        #[command(flatten)]
        nats: Nats,
        /// The file's name, as `files ls` shows it
        name: String,
        /// Where to put it [default: its name, in the current directory]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the files: size in bytes, time of the last change, name
    Ls {
        #[command(flatten)]
        nats: Nats,
        /// Only those in this sub-directory
        #[arg(default_value = "", hide_default_value = true)]
        directory: String,
    },
    /// Print what changes, until interrupted
    ///
    /// Waits for the service if that goes away, and says so.
    Watch {
        #[command(flatten)]
        nats: Nats,
        /// Only what is in this sub-directory
        #[arg(default_value = "", hide_default_value = true)]
        directory: String,
    },
    /// Make the service's files like those of a directory
    ///
    /// Goes one way, from here to the service, and moves only the blocks that differ. Files of the
    /// same size and time count as the same. A file that was renamed is sent as a new one, and the
    /// old one stays: nothing is removed without --delete.
    Sync {
        #[command(flatten)]
        nats: Nats,
        /// The directory
        dir: PathBuf,
        /// Remove from the service what is not in DIR
        #[arg(long)]
        delete: bool,
        /// Compare the content of files of the same size and time, too
        #[arg(long)]
        checksum: bool,
    },
    /// Start a broker and the service, do all of it in a temporary directory, and end
    Demo,
}

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) nats: Nats,
    /// Where the files are
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Start a NATS broker in this process and serve on that, for trying things out
    #[arg(long, conflicts_with_all = ["server", "context"])]
    pub(crate) embedded: bool,
}

/// Where NATS is. With neither: $NATS_CONTEXT, $NATS_URL, the context that the nats command has
/// selected, or nats://localhost:4222.
#[derive(Args)]
pub(crate) struct Nats {
    /// URLs of the NATS servers, with commas between [default: $NATS_URL]
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
