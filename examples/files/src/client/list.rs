//! `files ls`: lists the files.

use std::fmt;

use nmfw::prost_types::Timestamp;

use super::{
    Error,
    output::{self, line},
};
use crate::files::{FileInfo, FilesClient, ListRequest};

pub(crate) async fn list(files: &FilesClient, directory: String) -> Result<(), Error> {
    let listed = files.list(ListRequest { directory }).await?.files;
    let width = listed.iter().map(|file| file.size).max().unwrap_or(0);
    let width = width.to_string().len();
    for file in &listed {
        line(Row { file, width })?;
    }
    Ok(())
}

struct Row<'a> {
    file: &'a FileInfo,
    /// Width of the size column.
    width: usize,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.file.modified.unwrap_or_default().seconds;
        let modified = Timestamp { seconds, nanos: 0 };
        let (size, width) = (self.file.size, self.width);
        write!(f, "{size:width$}  {modified}  {}", output::name(self.file))
    }
}
