//! `Get`: sends a file, or the missing part of it.

use futures_util::{StreamExt, TryStreamExt, stream};
use nmfw::{Status, Stream};

use super::put::checksum;
use crate::{
    blocking::blocking,
    content,
    files::{GetHeader, GetRequest, GetResponse, get_response::Part},
    store::Store,
};

pub(super) async fn get(
    store: &Store,
    request: GetRequest,
) -> Result<impl Stream<Item = Result<GetResponse, Status>> + Send + 'static, Status> {
    let GetRequest { name, have } = request;
    let have = match have {
        None => None,
        Some(prefix) => Some((prefix.size, checksum(&prefix.sha256)?)),
    };
    let store = store.clone();
    let (content, offset) = blocking(move || {
        let mut content = store.read(&name)?;
        let offset = match have {
            Some((size, checksum)) if content.skip(size, checksum)? => size,
            _ => 0,
        };
        Ok((content, offset))
    })
    .await?;
    let header = Part::Header(GetHeader {
        file: Some(content.info()),
        offset,
    });
    let rest = content.into_parts().map_ok(|part| match part {
        content::Part::Data(data) => Part::Data(data),
        content::Part::End(checksum) => Part::Sha256(checksum.to_bytes()),
    });
    let parts = stream::iter([Ok(header)]).chain(rest.err_into());
    Ok(parts.map_ok(|part| GetResponse { part: Some(part) }))
}
