//! Schemas of services that are running: fetching them from their instances.

use std::{future::IntoFuture, time::Duration};

use async_nats::{HeaderMap, StatusCode, Subject};
use futures_util::future::BoxFuture;
use nmfw_schema::{Cache, Schema};
use prost::Message as _;

use super::{
    attempts::AttemptError,
    schema_message::{SchemaRequest, SchemaResponse},
    subject,
    transport::NatsTransport,
};
use crate::{Connection, Status};

/// The default time limit for fetching a schema.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for an answer before the request is repeated, because an instance drops requests
/// beyond its rate limit.
const ROUND: Duration = Duration::from_millis(500);

/// The largest compressed schema that is read. An uncompressed one may not be larger either.
const MAX_COMPRESSED: u64 = Schema::MAX_BYTES as u64;

/// Fetches the schema of a service from one of its instances. `subject` is the service's subject,
/// for example `nmfw.calc`.
///
/// ```no_run
/// # async fn example(nats: &nmfw::Connection) -> Result<(), nmfw::Status> {
/// let schema = nmfw::schema::fetch(nats, "nmfw.calc").await?;
/// for service in schema.services() {
///     println!("{}", service.full_name());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `UNAVAILABLE` if no instance has a schema: none is running, its code was generated with
/// `embed_schema(false)`, or the service is not of nmfw. `DATA_LOSS` if the schema is damaged or does
/// not have its hash, `DEADLINE_EXCEEDED` after the [timeout](Fetch::timeout), `PERMISSION_DENIED` if
/// the NATS user may not ask for it, `INVALID_ARGUMENT` if the subject is not valid.
pub fn fetch(connection: impl Into<Connection>, subject: impl Into<String>) -> Fetch {
    Fetch {
        transport: NatsTransport::new(connection),
        base: subject.into(),
        instance: None,
        hash: String::new(),
        cache: None,
        timeout: DEFAULT_TIMEOUT,
    }
}

/// The settings of [`fetch`]; `.await` it to fetch the schema.
#[derive(Debug)]
#[must_use = "nothing is fetched until it is awaited"]
pub struct Fetch {
    transport: NatsTransport,
    base: String,
    instance: Option<String>,
    hash: String,
    cache: Option<Cache>,
    timeout: Duration,
}

impl Fetch {
    /// Asks this instance: its id in discovery. Without it, any instance is asked.
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    /// Accepts only the schema with this hash: the metadata `nmfw.schema` in discovery.
    pub fn hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = hash.into();
        self
    }

    /// Takes the schema from this cache if it is there, and stores it there otherwise. With a
    /// [`hash`](Self::hash), a schema in the cache is returned without a request.
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Sets the time limit. The default is [`DEFAULT_TIMEOUT`], 5 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn run(self) -> Result<Schema, Status> {
        if let Some(schema) = self.cached(&self.hash) {
            return Ok(schema);
        }
        let Ok(fetched) = tokio::time::timeout(self.timeout, self.ask()).await else {
            return Err(Status::deadline_exceeded(format!(
                "the schema of {} was not received within {:?}",
                self.base, self.timeout
            )));
        };
        fetched
    }

    async fn ask(&self) -> Result<Schema, Status> {
        let id = self.instance.as_deref();
        for part in [Some(self.base.as_str()), id].into_iter().flatten() {
            if let Err(reason) = subject::check_subject(part) {
                let text = format!("{part:?} is not valid: {reason}");
                return Err(Status::invalid_argument(text));
            }
        }
        let subject = match id {
            Some(id) => subject::instance(&self.base, id, "schema"),
            None => subject::any_instance(&self.base, "schema"),
        };
        let subject = Subject::from(subject);
        let mut compressed = Vec::new();
        let mut hash = self.hash.clone();
        loop {
            let request = SchemaRequest {
                hash: hash.clone(),
                offset: compressed.len() as u64,
            };
            let response = self.part(&subject, &request).await?;
            if hash.is_empty() {
                hash.clone_from(&response.hash);
                if let Some(schema) = self.cached(&hash) {
                    return Ok(schema);
                }
            }
            self.check(&request, &hash, &response)?;
            compressed.extend_from_slice(&response.part);
            if compressed.len() as u64 >= response.size {
                break;
            }
        }
        let damaged = |error: nmfw_schema::SchemaError| {
            Status::data_loss(format!("the schema of {} is damaged: {error}", self.base))
        };
        let schema = Schema::from_compressed(&compressed).map_err(damaged)?;
        if schema.hash() != hash {
            let text = format!("the schema of {} does not have the hash {hash}", self.base);
            return Err(Status::data_loss(text));
        }
        if let Some(cache) = &self.cache
            && let Err(error) = cache.put(&schema)
        {
            // The cache is only for speed.
            tracing::debug!(%error, "cannot store a schema in the cache");
        }
        Ok(schema)
    }

    /// Checks that a part continues the schema.
    fn check(
        &self,
        request: &SchemaRequest,
        hash: &str,
        response: &SchemaResponse,
    ) -> Result<(), Status> {
        if response.hash != hash {
            return Err(Status::failed_precondition(format!(
                "the instance of {} has the schema {}, not {hash}: ask another instance",
                self.base,
                nmfw_core::escape::Escaped::new(&response.hash),
            )));
        }
        if response.size > MAX_COMPRESSED {
            return Err(Status::data_loss(format!(
                "the schema of {} has {} bytes, more than the {MAX_COMPRESSED} that are read",
                self.base, response.size
            )));
        }
        let end = request.offset.saturating_add(response.part.len() as u64);
        if response.part.is_empty() || end > response.size {
            return Err(Status::data_loss(format!(
                "an instance of {} sent a part of its schema that does not fit",
                self.base
            )));
        }
        Ok(())
    }

    /// Asks for a part until it is answered.
    async fn part(
        &self,
        subject: &Subject,
        request: &SchemaRequest,
    ) -> Result<SchemaResponse, Status> {
        loop {
            let body = request.encode_to_vec().into();
            let asked = self.transport.request(subject, HeaderMap::new(), body);
            let message = match tokio::time::timeout(ROUND, asked).await {
                Ok(Ok(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                    return Err(self.nobody());
                }
                Ok(Ok(message)) => message,
                Ok(Err(error)) => return Err(self.failure(error)),
                Err(_) => continue,
            };
            return SchemaResponse::decode(message.payload).map_err(|_| {
                let text = format!(
                    "an instance of {} sent something else than its schema",
                    self.base
                );
                Status::data_loss(text)
            });
        }
    }

    fn nobody(&self) -> Status {
        Status::unavailable(format!(
            "no instance sends the schema of {}: the service is not running, is not of nmfw, or its \
             code was generated with `embed_schema(false)`",
            self.base
        ))
    }

    fn failure(&self, error: AttemptError) -> Status {
        match error {
            AttemptError::NoInstance(_) => self.nobody(),
            AttemptError::Final(status)
            | AttemptError::TooLarge(status)
            | AttemptError::Elsewhere(status) => status,
        }
    }

    fn cached(&self, hash: &str) -> Option<Schema> {
        if hash.is_empty() {
            return None;
        }
        self.cache.as_ref()?.get(hash)
    }
}

impl IntoFuture for Fetch {
    type Output = Result<Schema, Status>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
