//! `files put`: sends a file.

use std::{fs::File, path::Path};

use futures_util::{StreamExt, TryStreamExt, stream};
use nmfw::Status;

use super::{Error, output, progress::Progress};
use crate::{
    blocking::blocking,
    checksum::Checksum,
    content::{self, Content},
    error::FileError,
    files::{FileInfo, FilesClient, PutRequest, put_request::Part},
};

/// Stores a local file under `name`, and returns its checksum.
pub(crate) async fn put(files: &FilesClient, path: &Path, name: &str) -> Result<Checksum, Error> {
    let content = open(path).await?;
    let header = FileInfo {
        name: name.to_owned(),
        ..content.info()
    };
    let progress = Progress::new(output::name(&header), content.size());
    let data = content.into_parts().map_ok(move |part| match part {
        content::Part::Data(data) => {
            progress.advance(data.len() as u64);
            Part::Data(data)
        }
        content::Part::End(checksum) => Part::Sha256(checksum.to_bytes()),
    });
    // If reading the file fails, the stream cancels the call with that error.
    let requests = stream::iter([Ok(Part::Header(header))])
        .chain(data)
        .map_ok(|part| PutRequest { part: Some(part) })
        .map_err(Status::from);
    let stored = files.put(requests).await?;
    let checksum = Checksum::from_bytes(&stored.sha256);
    Ok(checksum.ok_or("the service's answer has no checksum")?)
}

async fn open(path: &Path) -> Result<Content, FileError> {
    let path = path.to_owned();
    blocking(move || {
        let name = path.to_string_lossy();
        let file = File::open(&path).map_err(FileError::io("read", &name))?;
        Content::new(&name, file)
    })
    .await
}
