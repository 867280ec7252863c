//! `Put`: stores a file.

use nmfw::{Status, Streaming};

use super::modified;
use crate::{
    blocking::blocking,
    checksum::Checksum,
    error::FileError,
    files::{FileInfo, PutRequest, PutResponse, put_request::Part},
    store::{PartFile, Store},
};

/// Stores a file. If the future is dropped, for example because the caller disconnects,
/// [`PartFile`] removes the partial file.
pub(super) async fn put(
    store: &Store,
    mut requests: Streaming<PutRequest>,
) -> Result<PutResponse, Status> {
    let Some(Part::Header(header)) = next(&mut requests).await? else {
        return Err(Status::invalid_argument("a put must begin with a header"));
    };
    let modified = modified(&header)?;
    let FileInfo { name, size, .. } = header;
    let mut part = {
        let store = store.clone();
        blocking(move || store.create(&name)).await?
    };
    loop {
        match next(&mut requests).await? {
            Some(Part::Data(data)) => {
                // Checked early, before the data fills the disk.
                check_size(&part, data.len(), size)?;
                part = blocking(move || part.write(&data).map(|()| part)).await?;
            }
            Some(Part::Sha256(sum)) => {
                let checksum = checksum(&sum)?;
                let file = blocking(move || part.commit(size, checksum, modified)).await?;
                tracing::info!(file = file.name, size, "stored");
                return Ok(PutResponse {
                    file: Some(file),
                    sha256: sum,
                });
            }
            Some(Part::Header(_)) => {
                return Err(Status::invalid_argument("a put has more than one header"));
            }
            None => {
                return Err(Status::invalid_argument("the put ended without a checksum"));
            }
        }
    }
}

async fn next(requests: &mut Streaming<PutRequest>) -> Result<Option<Part>, Status> {
    match requests.message().await? {
        None => Ok(None),
        Some(PutRequest { part: Some(part) }) => Ok(Some(part)),
        Some(PutRequest { part: None }) => Err(Status::invalid_argument("a part is empty")),
    }
}

/// Refuses more data than announced.
pub(super) fn check_size(part: &PartFile, more: usize, size: u64) -> Result<(), Status> {
    let actual = part.size().saturating_add(more as u64);
    if actual > size {
        return Err(FileError::Size {
            name: part.name().to_owned(),
            expected: size,
            actual,
        }
        .into());
    }
    Ok(())
}

pub(super) fn checksum(bytes: &[u8]) -> Result<Checksum, Status> {
    Checksum::from_bytes(bytes)
        .ok_or_else(|| Status::invalid_argument("a SHA-256 checksum has 32 bytes"))
}
