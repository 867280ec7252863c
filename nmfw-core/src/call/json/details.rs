//! Details of errors in JSON: as `Any` in protobuf's JSON format, if the service's schema has the
//! type. Otherwise `value` holds the message in the binary format, in base64.

use base64::{Engine, prelude::BASE64_STANDARD};
use nmfw_schema::json::{self, JsonOptions};
use prost_types::Any;
use serde_json::{Map, Value};

use super::Transcoder;
use crate::Method;

/// The key of the type.
const TYPE: &str = "@type";

/// The key of a message in the binary format.
const VALUE: &str = "value";

/// Returns the JSON form of an error's details.
#[must_use]
pub fn details_to_json(method: Method, details: &[Any]) -> Vec<Value> {
    let transcoder = Transcoder::of(method).ok();
    details
        .iter()
        .map(|detail| {
            let known = transcoder.as_ref().and_then(|t| fields(t, detail));
            let mut object = known.unwrap_or_else(|| {
                let value = BASE64_STANDARD.encode(&detail.value);
                Map::from_iter([(VALUE.to_owned(), value.into())])
            });
            object.insert(TYPE.to_owned(), detail.type_url.clone().into());
            Value::Object(object)
        })
        .collect()
}

/// Returns the details of an error from their JSON form. Those that are not valid are left out.
#[must_use]
pub fn details_from_json(method: Method, details: &[Value]) -> Vec<Any> {
    let transcoder = Transcoder::of(method).ok();
    let read = |detail: &Value| {
        let mut object = detail.as_object()?.clone();
        let Some(Value::String(type_url)) = object.remove(TYPE) else {
            return None;
        };
        let descriptor = transcoder.as_ref()?.message(name(&type_url));
        let value = match descriptor {
            Some(descriptor) => {
                let json = serde_json::to_vec(&object).ok()?;
                let options = JsonOptions::default().ignore_unknown_fields(true);
                json::to_message(&descriptor, &json, &options).ok()?
            }
            None => BASE64_STANDARD.decode(object.get(VALUE)?.as_str()?).ok()?,
        };
        Some(Any { type_url, value })
    };
    details
        .iter()
        .filter_map(|detail| {
            let read = read(detail);
            if read.is_none() {
                log_limited!(
                    debug,
                    "skipped a detail of an error, because it is not valid"
                );
            }
            read
        })
        .collect()
}

/// Returns the fields of a message that the schema knows. A message whose JSON form is not an object
/// has none, such as a `Duration`.
fn fields(transcoder: &Transcoder, detail: &Any) -> Option<Map<String, Value>> {
    let descriptor = transcoder.message(name(&detail.type_url))?;
    let json = json::from_message(
        &descriptor,
        detail.value.as_slice(),
        &JsonOptions::default(),
    )
    .ok()?;
    serde_json::from_slice(&json).ok()
}

fn name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}
