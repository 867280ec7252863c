//! [`Transcoder`] with the feature `json`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use nmfw_schema::{
    Schema,
    json::{self, JsonOptions},
    prost_reflect::MessageDescriptor,
};

use crate::{EmbeddedSchema, Method, Status};

/// The schemas of the services of this program, by hash; `None` for one that cannot be used.
static SCHEMAS: Mutex<Option<HashMap<&'static str, Option<Schema>>>> = Mutex::new(None);

/// Converts the messages of a method.
#[derive(Clone, Debug)]
pub struct Transcoder {
    method: Method,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

impl Transcoder {
    /// Returns the transcoder of a method.
    ///
    /// # Errors
    /// `UNIMPLEMENTED` if the service has no schema, or one that cannot be used.
    pub fn of(method: Method) -> Result<Self, Status> {
        let name = method.full_name();
        let Some(embedded) = method.service().schema() else {
            return Err(Status::unimplemented(format!(
                "{name} cannot be called with JSON, because its code was generated with \
                 `embed_schema(false)`: send the request in Protobuf's binary format"
            )));
        };
        let schema = schema(embedded);
        let found = schema.as_ref().and_then(|schema| schema.method(&name));
        let Some(found) = found else {
            return Err(Status::unimplemented(format!(
                "{name} cannot be called with JSON, because its schema cannot be used: send the \
                 request in Protobuf's binary format"
            )));
        };
        Ok(Self {
            method,
            input: found.input(),
            output: found.output(),
        })
    }

    pub(crate) fn request_to_binary(&self, json: &[u8]) -> Result<Vec<u8>, Status> {
        json::to_message(&self.input, json, &JsonOptions::default()).map_err(|error| {
            let text = format!("the request of {} is not valid: {error}", self.method);
            Status::invalid_argument(text)
        })
    }

    pub(crate) fn request_to_json(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        json::from_message(&self.input, message, &JsonOptions::default()).map_err(|error| {
            let text = format!("the request of {} has no JSON form: {error}", self.method);
            // Not started: the request is converted before it is sent.
            Status::invalid_argument(text).not_started()
        })
    }

    pub(crate) fn response_to_binary(&self, json: &[u8]) -> Result<Vec<u8>, Status> {
        // Fields that a newer service has added are skipped, as in the binary format.
        let options = JsonOptions::default().ignore_unknown_fields(true);
        json::to_message(&self.output, json, &options).map_err(|error| {
            let text = format!("the response of {} is not valid: {error}", self.method);
            Status::internal(text)
        })
    }

    pub(crate) fn response_to_json(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        json::from_message(&self.output, message, &JsonOptions::default()).map_err(|error| {
            let text = format!("the response of {} has no JSON form: {error}", self.method);
            Status::internal(text)
        })
    }

    /// Returns the descriptor of a type that the service's schema contains.
    pub(super) fn message(&self, full_name: &str) -> Option<MessageDescriptor> {
        self.input.parent_pool().get_message_by_name(full_name)
    }
}

/// Returns a schema, which is decompressed once for each program.
fn schema(embedded: EmbeddedSchema) -> Option<Schema> {
    let mut schemas = SCHEMAS.lock().unwrap_or_else(PoisonError::into_inner);
    let schemas = schemas.get_or_insert_default();
    let schema = schemas.entry(embedded.hash()).or_insert_with(|| {
        let schema = Schema::from_compressed(embedded.compressed());
        schema
            .inspect_err(|error| {
                tracing::error!(%error, hash = embedded.hash(), "cannot use an embedded schema");
            })
            .ok()
    });
    schema.clone()
}
