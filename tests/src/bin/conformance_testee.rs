//! The program that protobuf's conformance runner tests: `nmfw-schema`, over stdin and stdout.
//!
//! The only argument is a descriptor set with the messages of the tests.

use std::error::Error;
use std::io::{self, Read, Write};

use nmfw::prost::{self, Message};
use nmfw_schema::Schema;
use nmfw_schema::json::{self, JsonOptions};

/// `conformance.ConformanceRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "::nmfw::prost")]
struct Request {
    #[prost(oneof = "Payload", tags = "1, 2, 7, 8")]
    payload: Option<Payload>,
    #[prost(int32, tag = "3")]
    requested_output_format: i32,
    #[prost(string, tag = "4")]
    message_type: String,
    #[prost(int32, tag = "5")]
    test_category: i32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(prost_path = "::nmfw::prost")]
enum Payload {
    #[prost(bytes, tag = "1")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(string, tag = "7")]
    Jspb(String),
    #[prost(string, tag = "8")]
    Text(String),
}

/// `conformance.ConformanceResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "::nmfw::prost")]
struct Response {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(prost_path = "::nmfw::prost")]
enum Outcome {
    #[prost(string, tag = "1")]
    ParseError(String),
    #[prost(string, tag = "2")]
    RuntimeError(String),
    #[prost(bytes, tag = "3")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "4")]
    Json(String),
    #[prost(string, tag = "5")]
    Skipped(String),
    #[prost(string, tag = "6")]
    SerializeError(String),
}

/// Values of `conformance.WireFormat`.
const PROTOBUF: i32 = 1;
const JSON: i32 = 2;

/// `TestCategory.JSON_IGNORE_UNKNOWN_PARSING_TEST`.
const IGNORE_UNKNOWN: i32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("the argument is missing: the path of a descriptor set")?;
    let schema = Schema::from_descriptor_set(&std::fs::read(path)?)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut request = vec![0; usize::try_from(u32::from_le_bytes(length))?];
        input.read_exact(&mut request)?;
        let response = Response {
            outcome: Some(answer(&schema, Request::decode(request.as_slice())?)),
        }
        .encode_to_vec();
        output.write_all(&u32::try_from(response.len())?.to_le_bytes())?;
        output.write_all(&response)?;
        output.flush()?;
    }
}

fn answer(schema: &Schema, request: Request) -> Outcome {
    if request.message_type == "conformance.FailureSet" {
        // The tests that the runner expects to fail: none.
        return Outcome::Protobuf(Vec::new());
    }
    let Some(desc) = schema.message(&request.message_type) else {
        return Outcome::RuntimeError(format!("no message {}", request.message_type));
    };
    let options = JsonOptions::new().ignore_unknown_fields(request.test_category == IGNORE_UNKNOWN);
    let message = match request.payload {
        Some(Payload::Protobuf(encoded)) => {
            nmfw_schema::decode(&desc, encoded.as_slice()).map_err(|error| error.to_string())
        }
        Some(Payload::Json(document)) => json::to_dynamic(&desc, document.as_bytes(), &options)
            .map_err(|error| error.to_string()),
        Some(Payload::Jspb(_) | Payload::Text(_)) => {
            return Outcome::Skipped("only protobuf and JSON".to_owned());
        }
        None => return Outcome::RuntimeError("no payload".to_owned()),
    };
    let message = match message {
        Ok(message) => message,
        Err(error) => return Outcome::ParseError(error),
    };
    match request.requested_output_format {
        PROTOBUF => Outcome::Protobuf(message.encode_to_vec()),
        JSON => json::from_dynamic(&message, &options)
            .map_err(|error| error.to_string())
            .and_then(|document| String::from_utf8(document).map_err(|error| error.to_string()))
            .map_or_else(Outcome::SerializeError, Outcome::Json),
        _ => Outcome::Skipped("only protobuf and JSON".to_owned()),
    }
}
