//! The schemas of live services: fetched from an instance, and kept by their hash.

use std::time::Duration;

use nmfw::Connection;
use nmfw_schema::{Cache, Schema};

use crate::{
    discovery::Instance,
    failure::{Exit, Failure},
};

/// Returns the hash of an instance's schema, if it has one.
pub(crate) fn hash(instance: &Instance) -> Option<&str> {
    let hash = instance.identity.metadata.get("nmfw.schema")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

/// Returns the schema of an instance whose service has the subject `base`, from the cache or over
/// the network.
pub(crate) async fn of_instance(
    nats: &Connection,
    base: &str,
    instance: &Instance,
    limit: Duration,
) -> Result<Schema, Failure> {
    let identity = &instance.identity;
    let Some(hash) = hash(instance) else {
        return Err(Failure::new(format!(
            "instance {} of {} has no schema",
            identity.id, identity.name
        ))
        .exit(Exit::NotFound)
        .hint(
            "build the service with a current nmfw-build and its `embed_schema`, or name its files \
             with --proto FILE",
        ));
    };
    if let Some(schema) = cached(hash) {
        return Ok(schema);
    }
    let fetch = nmfw::schema::fetch(nats, base)
        .instance(&identity.id)
        .hash(hash);
    let schema = fetch.timeout(limit).await.map_err(|status| {
        Failure::new(format!(
            "cannot get the schema of instance {} of {}: {status}",
            identity.id, identity.name
        ))
    })?;
    if let Some(cache) = cache() {
        // Everything works without the cache.
        _ = cache.put(&schema);
    }
    Ok(schema)
}

/// Returns a schema of the cache.
pub(crate) fn cached(hash: &str) -> Option<Schema> {
    cache()?.get(hash)
}

fn cache() -> Option<Cache> {
    Cache::open(Cache::default_folder()?).ok()
}
