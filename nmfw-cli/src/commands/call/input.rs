//! [`Input`]: the data of a call.

use std::{fs::File, io::IsTerminal};

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{documents::Documents, failure::Failure};

/// The largest request that is read as one, in bytes.
const MAX_REQUEST: u64 = 64 * 1024 * 1024;

/// The bytes read at a time.
const PART: usize = 64 * 1024;

/// Data from the command line, a file or standard input.
pub(in crate::commands) struct Input {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    name: String,
}

impl Input {
    /// Opens the data of the command line. `reads_stdin` tells what no data mean: standard input, or
    /// nothing.
    pub(in crate::commands) fn open(
        data: Option<&str>,
        reads_stdin: bool,
    ) -> Result<Self, Failure> {
        let (reader, name): (Box<dyn AsyncRead + Send + Unpin>, _) = match data {
            None if reads_stdin => stdin(),
            Some("-") => stdin(),
            None => (Box::new(tokio::io::empty()), "the request".to_owned()),
            Some(data) => match data.strip_prefix('@') {
                Some(path) => {
                    let file = File::open(path).map_err(|error| {
                        Failure::new(format!("cannot read {path}")).caused_by(&error)
                    })?;
                    (Box::new(tokio::fs::File::from_std(file)), path.to_owned())
                }
                None => {
                    let data = std::io::Cursor::new(data.to_owned().into_bytes());
                    (Box::new(data), "the request".to_owned())
                }
            },
        };
        Ok(Self { reader, name })
    }

    /// Reads all data.
    pub(in crate::commands) async fn document(self) -> Result<Vec<u8>, Failure> {
        let mut document = Vec::new();
        let read = self
            .reader
            .take(MAX_REQUEST + 1)
            .read_to_end(&mut document)
            .await;
        read.map_err(|error| Failure::new(format!("cannot read {}", self.name)).caused_by(&error))?;
        match document.len() as u64 {
            0..=MAX_REQUEST => Ok(document),
            _ => Err(Failure::new(format!(
                "{} has more than {} MiB",
                self.name,
                MAX_REQUEST >> 20
            ))),
        }
    }

    /// Returns the JSON documents with their numbers, each as soon as it has been read. An error is the
    /// last item.
    pub(in crate::commands) fn documents(
        self,
    ) -> impl Stream<Item = Result<(usize, Vec<u8>), Failure>> + Send + 'static {
        let state = Some((self, Documents::default(), Vec::new().into_iter(), 0));
        stream::unfold(state, |state| async move {
            let (mut input, mut documents, mut ready, number) = state?;
            loop {
                if let Some(document) = ready.next() {
                    let item = Ok((number + 1, document));
                    return Some((item, Some((input, documents, ready, number + 1))));
                }
                let mut part = vec![0; PART];
                match input.reader.read(&mut part).await {
                    Ok(0) => {
                        let rest = documents.finish()?;
                        return Some((Ok((number + 1, rest)), None));
                    }
                    Ok(len) => match documents.push(part.get(..len).unwrap_or_default()) {
                        Ok(complete) => ready = complete.into_iter(),
                        Err(why) => {
                            let why = format!("document {}: {why}", number + 1);
                            return Some((Err(Failure::new(why)), None));
                        }
                    },
                    Err(error) => {
                        let why = Failure::new(format!("cannot read {}", input.name));
                        return Some((Err(why.caused_by(&error)), None));
                    }
                }
            }
        })
    }
}

fn stdin() -> (Box<dyn AsyncRead + Send + Unpin>, String) {
    if std::io::stdin().is_terminal() {
        // A person is told what the program waits for.
        let mut stderr = anstream::stderr();
        _ = std::io::Write::write_all(
            &mut stderr,
            b"reading JSON from the terminal; Ctrl-D ends it\n",
        );
    }
    (Box::new(tokio::io::stdin()), "standard input".to_owned())
}
