//! `files get`: fetches a file, or the missing part of it.

use std::{path::Path, time::Duration};

use nmfw::{Code, Status, Streaming};

use super::{Error, output::note, partial::Partial, progress::Progress};
use crate::{
    checksum::Checksum,
    files::{FileInfo, FilesClient, GetRequest, GetResponse, get_response::Part},
};

/// Maximum number of attempts without progress after the service went away.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How long to wait until the service is available again.
const WAIT: Duration = Duration::from_secs(30);

/// Fetches the file `name` as `out`, and returns its checksum. Data from an earlier attempt is not
/// fetched again.
pub(crate) async fn get(files: &FilesClient, name: &str, out: &Path) -> Result<Checksum, Error> {
    let mut partial = Partial::open(out).await?;
    if partial.size() > 0 {
        note(format_args!("continuing after {} bytes", partial.size()));
    }
    let progress = Progress::new(name, 0);
    let mut failed = 0;
    loop {
        let before = partial.size();
        let error = match once(files, name, &mut partial, &progress).await {
            Ok(checksum) => return Ok(checksum),
            Err(error) => error,
        };
        let status: Option<&Status> = error.downcast_ref();
        let gone = status.is_some_and(|status| status.code() == Code::Unavailable);
        failed = if partial.size() > before {
            1
        } else {
            failed + 1
        };
        // If nothing has arrived at all, most likely no service is running.
        if !gone || partial.size() == 0 || failed > ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
        if files.wait_ready(WAIT).await.is_err() {
            return Err(error);
        }
    }
}

async fn once(
    files: &FilesClient,
    name: &str,
    partial: &mut Partial,
    progress: &Progress,
) -> Result<Checksum, Error> {
    let request = GetRequest {
        name: name.to_owned(),
        have: partial.prefix(),
    };
    let mut responses = files.get(request).await?;
    let Part::Header(header) = next(&mut responses).await? else {
        return Err(Status::internal("the service sent no header").into());
    };
    let FileInfo { size, modified, .. } = header.file.unwrap_or_default();
    match header.offset {
        0 => partial.restart().await?,
        offset if offset == partial.size() => {}
        _ => return Err(Status::internal("the service sent another part of the file").into()),
    }
    progress.start_at(header.offset, size);
    loop {
        match next(&mut responses).await? {
            Part::Data(data) => {
                progress.advance(data.len() as u64);
                partial.write(data).await?;
            }
            Part::Sha256(sum) => {
                let checksum = Checksum::from_bytes(&sum)
                    .ok_or_else(|| Status::internal("the service sent no checksum"))?;
                let modified = modified.and_then(|time| time.try_into().ok());
                partial.finish(size, checksum, modified).await?;
                return Ok(checksum);
            }
            Part::Header(_) => {
                return Err(Status::internal("the service sent two headers").into());
            }
        }
    }
}

async fn next(responses: &mut Streaming<GetResponse>) -> Result<Part, Status> {
    let response = responses.message().await?;
    response.and_then(|response| response.part).ok_or_else(|| {
        Status::internal("the service ended the transfer before the end of the file")
    })
}
