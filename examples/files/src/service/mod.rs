//! The service, with one file per method, independent of the transport.

mod get;
mod put;
mod sync;
mod watch;

use std::{sync::Arc, time::SystemTime};

use nmfw::{Context, Status, Stream, Streaming};

use self::watch::Doings;
use crate::{
    blocking::blocking,
    files::{
        FileInfo, Files, GetRequest, GetResponse, ListRequest, ListResponse, PutRequest,
        PutResponse, SyncRequest, SyncResponse, WatchRequest, WatchResponse,
    },
    store::{Listing, Store},
};

/// The service. Clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct FileService {
    store: Store,
    doings: Arc<Doings>,
}

impl FileService {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            doings: Arc::default(),
        }
    }
}

impl Files for FileService {
    async fn put(
        &self,
        _ctx: Context,
        requests: Streaming<PutRequest>,
    ) -> Result<PutResponse, Status> {
        let stored = put::put(&self.store, requests).await?;
        self.doings.changed();
        Ok(stored)
    }

    async fn get(
        &self,
        _ctx: Context,
        request: GetRequest,
    ) -> Result<impl Stream<Item = Result<GetResponse, Status>> + Send + 'static, Status> {
        get::get(&self.store, request).await
    }

    async fn list(&self, _ctx: Context, request: ListRequest) -> Result<ListResponse, Status> {
        let files = list(&self.store, request.directory).await?.files;
        Ok(ListResponse { files })
    }

    async fn watch(
        &self,
        ctx: Context,
        request: WatchRequest,
    ) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static, Status> {
        watch::watch(&self.store, &self.doings, ctx, request).await
    }

    async fn sync(
        &self,
        ctx: Context,
        requests: Streaming<SyncRequest>,
    ) -> Result<impl Stream<Item = Result<SyncResponse, Status>> + Send + 'static, Status> {
        Ok(sync::sync(self.clone(), ctx, requests))
    }
}

async fn list(store: &Store, directory: String) -> Result<Listing, Status> {
    let store = store.clone();
    let listing = blocking(move || store.list(&directory)).await?;
    for error in &listing.unreadable {
        tracing::warn!(%error, "left out");
    }
    Ok(listing)
}

/// Returns the modification time from a peer, or the current time if there is none.
fn modified(file: &FileInfo) -> Result<SystemTime, Status> {
    let Some(time) = file.modified else {
        return Ok(SystemTime::now());
    };
    time.try_into().map_err(|_| {
        Status::invalid_argument(format!("{:?} has an invalid modification time", file.name))
    })
}
