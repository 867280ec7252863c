//! The protobuf JSON mapping: documents to encoded messages, and back.
//!
//! The mapping is [protobuf's](https://protobuf.dev/programming-guides/json/), and passes
//! protobuf's own conformance tests. Where the mapping leaves a choice:
//!
//! - A field that is given twice, or under both of its names, is an error. So is a key of a map.
//! - Unknown fields and names of enum values are errors, unless
//!   [`ignore_unknown_fields`](JsonOptions::ignore_unknown_fields) is set.
//! - Messages may be nested [`MAX_DEPTH`] levels deep, as in encoded messages. An entry of a map
//!   counts as a level, and so do the messages behind a `google.protobuf.Value`.
//! - Documents are limited to [`max_bytes`](JsonOptions::max_bytes), in both directions.
//! - The type of a message in a `google.protobuf.Any` must be in the schema, or one of the
//!   well-known types.
//!
//! ```
//! use nmfw_schema::Schema;
//! use nmfw_schema::json::{self, JsonOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::compile(["calc.proto"], ["../proto"])?;
//! let request = schema.message("calc.AddRequest").expect("the message exists");
//!
//! let encoded = json::to_message(&request, br#"{"Values": [1, 2.5]}"#, &JsonOptions::new())?;
//! let document = json::from_message(&request, encoded.as_slice(), &JsonOptions::new())?;
//! assert_eq!(document, br#"{"Values":[1.0,2.5]}"#);
//!
//! let error = json::to_message(&request, br#"{"Values": [1, "x"]}"#, &JsonOptions::new());
//! assert_eq!(
//!     error.unwrap_err().to_string(),
//!     r#"Values[1]: expected a number, but found the string "x""#
//! );
//! # Ok(())
//! # }
//! ```

mod error;
mod options;
mod read;
mod time;
pub(crate) mod well_known;
mod write;

use prost::Message;
use prost::bytes::Buf;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

pub use error::JsonError;
pub use options::JsonOptions;

/// The number of levels that messages may be nested, below the outermost one.
pub const MAX_DEPTH: usize = 100;

/// Converts a JSON document to an encoded message.
///
/// # Errors
/// Fails if the document is not valid JSON, does not fit the message, or exceeds a limit.
pub fn to_message(
    message: &MessageDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<Vec<u8>, JsonError> {
    Ok(to_dynamic(message, json, options)?.encode_to_vec())
}

/// Converts an encoded message to a JSON document.
///
/// `encoded` is a `&[u8]` or [`Bytes`](prost::bytes::Bytes), which is not copied.
///
/// # Errors
/// Fails if the message is damaged, has a value that JSON cannot represent, such as a timestamp
/// after the year 9999, or exceeds a limit.
pub fn from_message(
    message: &MessageDescriptor,
    encoded: impl Buf,
    options: &JsonOptions,
) -> Result<Vec<u8>, JsonError> {
    let decoded = crate::decode(message, encoded).map_err(|error| {
        JsonError::new(format!(
            "the message is not a valid `{}`: {error}",
            message.full_name()
        ))
    })?;
    from_dynamic(&decoded, options)
}

/// Converts a JSON document to a dynamic message.
///
/// # Errors
/// Like [`to_message`].
pub fn to_dynamic(
    message: &MessageDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<DynamicMessage, JsonError> {
    read::read(message, json, options)
}

/// Converts a dynamic message to a JSON document.
///
/// # Errors
/// Like [`from_message`].
pub fn from_dynamic(message: &DynamicMessage, options: &JsonOptions) -> Result<Vec<u8>, JsonError> {
    write::write(message, options)
}

/// Finds the type of a message in an `Any`.
fn type_of_any(type_url: &str, pool: &DescriptorPool) -> Result<MessageDescriptor, String> {
    let Some((_, name)) = type_url.rsplit_once('/') else {
        return Err(format!(
            "expected a type such as \"type.googleapis.com/package.Message\", but found \"{}\"",
            error::escape(type_url)
        ));
    };
    pool.get_message_by_name(name)
        .or_else(|| DescriptorPool::global().get_message_by_name(name))
        .ok_or_else(|| {
            format!(
                "the type `{}` of the `Any` is not in the schema",
                error::escape(name)
            )
        })
}
