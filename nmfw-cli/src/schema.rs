//! The schemas of live services: fetched from an instance, and kept by their hash.

use std::{path::PathBuf, time::Duration};

use nmfw::{Connection, async_nats::ConnectionExt};
use nmfw_schema::Schema;
use prost::Message;

use crate::{
    cache,
    discovery::Instance,
    failure::{Exit, Failure},
};

/// How often a request is repeated that is not answered, because services limit their answers.
const ATTEMPTS: u32 = 3;

/// A request for a part of a schema, as in PROTOCOL.md.
#[derive(Clone, PartialEq, Message)]
struct SchemaRequest {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

/// A part of a schema.
#[derive(Clone, PartialEq, Message)]
struct SchemaResponse {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(bytes = "vec", tag = "3")]
    part: Vec<u8>,
}

/// Returns the hash of an instance's schema, if it has one.
pub(crate) fn hash(instance: &Instance) -> Option<&str> {
    let hash = instance.identity.metadata.get("nmfw.schema")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

/// Returns the schema of an instance whose service has the subject `base`, from the cache or over
/// the network. Every answer is waited for at most `limit`.
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
    let damaged = |why: String| {
        Failure::new(format!(
            "the schema of instance {} of {} cannot be used: {why}",
            identity.id, identity.name
        ))
    };
    let compressed = fetch(nats, base, instance, hash, limit).await?;
    let schema =
        Schema::from_compressed(&compressed).map_err(|error| damaged(error.to_string()))?;
    if schema.hash() != hash {
        return Err(damaged(format!(
            "its hash is {}, not {hash}",
            schema.hash()
        )));
    }
    if let Some(path) = path(hash) {
        cache::write(&path, &compressed);
    }
    Ok(schema)
}

fn path(hash: &str) -> Option<PathBuf> {
    Some(cache::folder()?.join("schemas").join(hash))
}

/// Returns a schema of the cache, unless it is damaged.
pub(crate) fn cached(hash: &str) -> Option<Schema> {
    let compressed = cache::read(&path(hash)?, Schema::MAX_BYTES)?;
    let schema = Schema::from_compressed(&compressed).ok()?;
    (schema.hash() == hash).then_some(schema)
}

async fn fetch(
    nats: &Connection,
    base: &str,
    instance: &Instance,
    hash: &str,
    limit: Duration,
) -> Result<Vec<u8>, Failure> {
    let identity = &instance.identity;
    let subject = format!("{base}._i.{}.schema", identity.id);
    let failed = |why: &str| {
        Failure::new(format!(
            "instance {} of {} does not send its schema: {why}",
            identity.id, identity.name
        ))
    };
    let mut compressed = Vec::new();
    loop {
        let request = SchemaRequest {
            hash: hash.to_owned(),
            offset: compressed.len() as u64,
        };
        let answer = ask(nats, &subject, request.encode_to_vec(), limit).await;
        let answer = answer.map_err(|why| failed(&why))?;
        let answer = SchemaResponse::decode(&answer[..])
            .map_err(|error| failed(&format!("its answer is not valid ({error})")))?;
        if answer.hash != hash {
            return Err(failed("it has another one than it announced; try again"));
        }
        let size = usize::try_from(answer.size).unwrap_or(usize::MAX);
        if size > Schema::MAX_BYTES {
            return Err(failed(&format!("it has {size} bytes")));
        }
        compressed.extend_from_slice(&answer.part);
        if compressed.len() == size {
            return Ok(compressed);
        }
        if answer.part.is_empty() || compressed.len() > size {
            return Err(failed("its parts do not have the size that it announced"));
        }
    }
}

async fn ask(
    nats: &Connection,
    subject: &str,
    request: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let client = nats.client();
    for _ in 0..ATTEMPTS {
        let asking = client.request(subject.to_owned(), request.clone().into());
        match tokio::time::timeout(limit / ATTEMPTS, asking).await {
            Ok(Ok(message)) => return Ok(message.payload.to_vec()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => {}
        }
    }
    Err(format!(
        "no answer came within {limit:?}; may this user publish to {subject}?"
    ))
}
