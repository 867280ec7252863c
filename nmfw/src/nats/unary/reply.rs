//! Replies of base mode, both successful ones and errors.
//!
//! An error is written for three kinds of readers: ADR-32 clients (`Nats-Service-Error` and its
//! code), `nmfw` clients (`Nmfw-Status`, which marks the number as a gRPC code), and readers of
//! details (the body, a `google.rpc.Status`).

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::request::{append_metadata, is_json};
use crate::{
    Code, Deadline, Metadata, Method, Status,
    nats::headers::{self, NmfwHeader},
};
use nmfw_core::{
    call::{
        body::Body,
        metadata::{MAX_VALUES, is_reserved},
        response::Response,
    },
    escape::Escaped,
};

/// Maximum length of `Nats-Service-Error` in bytes. The body contains the whole message.
const MAX_ERROR_HEADER: usize = 1024;

/// Go's text for a passed deadline. Services of Go nmfw use `Nmfw-Deadline`, and so depend on
/// clocks.
const GO_DEADLINE: &str = "context deadline exceeded";

/// Minimum remaining time for which such an error is worth a note.
const MIN_LEFT: Duration = Duration::from_millis(100);

/// Replaces an error text for which there is no room, because ADR-32 clients treat an empty error
/// as success.
const NO_TEXT: &str = "?";

/// Marks the status of an answer that a session could carry.
const ANSWER_TOO_LARGE: &str = "answer-too-large";

const NOT_STARTED: &str = "not-started";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Returns the reply for an outcome, and the outcome for the caller. It fits into `max_payload`,
/// unless that is too small for any error.
pub(crate) fn encode(
    outcome: Result<Response, Status>,
    max_payload: usize,
) -> (Option<HeaderMap>, Bytes, Result<(), Status>) {
    encode_as(Format::Protobuf, outcome, max_payload)
}

/// Like [`encode`], for a request in JSON.
pub(crate) fn encode_json(
    outcome: Result<Response, Status>,
    method: Method,
    max_payload: usize,
) -> (Option<HeaderMap>, Bytes, Result<(), Status>) {
    encode_as(Format::Json(method), outcome, max_payload)
}

/// The encoding of a reply.
#[derive(Clone, Copy)]
enum Format {
    Protobuf,
    Json(Method),
}

impl Format {
    fn add_headers(self, headers: &mut HeaderMap) {
        if let Self::Json(_) = self {
            headers.insert(headers::CONTENT_TYPE, headers::JSON);
        }
    }

    /// Returns the body of an error, a `google.rpc.Status`.
    fn error_body(self, rpc: &RpcStatus) -> Vec<u8> {
        match self {
            Self::Protobuf => rpc.encode_to_vec(),
            Self::Json(method) => json_body(rpc, method),
        }
    }
}

fn encode_as(
    format: Format,
    outcome: Result<Response, Status>,
    max_payload: usize,
) -> (Option<HeaderMap>, Bytes, Result<(), Status>) {
    let (status, mark) = match outcome {
        // Only a layer can exceed the limit here, because handlers get an error earlier.
        Ok(response) => match response.metadata.check_size() {
            Err(error) => {
                let text = format!("the response cannot be sent: {error}");
                (Status::internal(text), None)
            }
            Ok(()) => match encode_ok(format, response, max_payload) {
                Ok((headers, body)) => return (headers, body, Ok(())),
                Err(status) => (status, Some(ANSWER_TOO_LARGE)),
            },
        },
        Err(status) => {
            let mark = status.is_not_started().then_some(NOT_STARTED);
            (status, mark)
        }
    };
    let (headers, body) = encode_error(format, &status, mark, max_payload);
    (Some(headers), body, Err(status))
}

/// Returns whether the handler has answered, and the answer is too large for a reply.
pub(crate) fn is_answer_too_large(message: &Message) -> bool {
    let status = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(headers::STATUS));
    status.is_some_and(|status| {
        let mut marks = status.as_str().split(';').skip(1);
        marks.any(|mark| mark.trim() == ANSWER_TOO_LARGE)
    })
}

fn encode_ok(
    format: Format,
    response: Response,
    max_payload: usize,
) -> Result<(Option<HeaderMap>, Bytes), Status> {
    let Response { metadata, body } = response;
    let Body::Message(body) = body else {
        let text = "the response to a plain NATS request is a stream";
        return Err(Status::internal(text));
    };
    let has_headers = !metadata.is_empty() || !matches!(format, Format::Protobuf);
    let headers = has_headers.then(|| {
        let mut headers = HeaderMap::new();
        format.add_headers(&mut headers);
        insert_metadata(&mut headers, &metadata);
        headers
    });
    let size = crate::nats::unary::size(headers.as_ref(), &body);
    if size > max_payload {
        return Err(Status::resource_exhausted(format!(
            "the response of {size} bytes exceeds the NATS server's max_payload of {max_payload} \
             bytes"
        )));
    }
    Ok((headers, body))
}

/// Writes an error with as much content as fits: all of it; without details and metadata; without a
/// body; with less of the message; and at least the headers that every reader needs.
fn encode_error(
    format: Format,
    status: &Status,
    mark: Option<&'static str>,
    max_payload: usize,
) -> (HeaderMap, Bytes) {
    let fits = |headers: &HeaderMap, body: &[u8]| {
        crate::nats::unary::size(Some(headers), body) <= max_payload
    };
    let code = status.code().number();
    let mut rpc = RpcStatus {
        code,
        message: status.message().to_owned(),
        details: status.details().to_vec(),
    };
    let mut headers = error_headers(status, mark, MAX_ERROR_HEADER, true);
    format.add_headers(&mut headers);
    insert_metadata(&mut headers, status.metadata());
    let body = format.error_body(&rpc);
    if fits(&headers, &body) && status.metadata().check_size().is_ok() {
        return (headers, body.into());
    }
    // The code and the message must still fit.
    log_limited!(
        warn, %status, max_payload, "details and metadata of an error were left out: they do not \
                                     fit into the NATS server's max_payload"
    );
    let mut headers = error_headers(status, mark, MAX_ERROR_HEADER, true);
    format.add_headers(&mut headers);
    rpc.details.clear();
    let body = format.error_body(&rpc);
    if fits(&headers, &body) {
        return (headers, body.into());
    }
    for has_code in [true, false] {
        if fits(&headers, &[]) {
            break;
        }
        let bare = error_headers(status, mark, 0, has_code);
        let rest = crate::nats::unary::size(Some(&bare), &[]) - NO_TEXT.len();
        headers = error_headers(status, mark, max_payload.saturating_sub(rest), has_code);
    }
    (headers, Bytes::new())
}

fn error_headers(
    status: &Status,
    mark: Option<&'static str>,
    max_text: usize,
    has_code: bool,
) -> HeaderMap {
    let code = status.code().number();
    let mut headers = HeaderMap::new();
    headers.insert(headers::ERROR, error_header(status, max_text));
    if has_code {
        headers.insert(headers::ERROR_CODE, code.to_string());
    }
    headers.insert(
        headers::STATUS,
        match mark {
            Some(mark) => format!("{code};{mark}"),
            None => code.to_string(),
        },
    );
    headers
}

/// Formats a header that is never empty, on one line, and cut between characters to `max` bytes or
/// the minimum. Unlike gRPC's message, it is not percent-encoded: ADR-32 clients display it
/// unchanged, and nmfw clients read the message from the body.
fn error_header(status: &Status, max: usize) -> String {
    let mut out = String::new();
    for c in status.message().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    match out.trim() {
        "" if status.code().name().len() > max => NO_TEXT.to_owned(),
        "" => status.code().name().to_owned(),
        message => message.to_owned(),
    }
}

/// Adds metadata to the headers of a reply, and its order if necessary.
fn insert_metadata(headers: &mut HeaderMap, metadata: &Metadata) {
    if let Some(order) = NmfwHeader::format_reply(metadata) {
        headers.insert(headers::NMFW, order);
    }
    append_metadata(headers, metadata);
}

/// Returns the JSON form of a `google.rpc.Status`.
fn json_body(rpc: &RpcStatus, method: Method) -> Vec<u8> {
    #[cfg(feature = "json")]
    let details = nmfw_core::call::json::details_to_json(method, &rpc.details);
    #[cfg(not(feature = "json"))]
    let details = {
        // Without the feature, the only error is that JSON is not supported.
        _ = method;
        Vec::<()>::new()
    };
    let body = serde_json::json!({
        "code": rpc.code,
        "message": rpc.message,
        "details": details,
    });
    body.to_string().into_bytes()
}

/// Reads the JSON form of a `google.rpc.Status`.
fn from_json_body(body: &[u8], method: Method) -> Option<(String, Vec<Any>)> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = body.get("message")?.as_str()?.to_owned();
    #[cfg(feature = "json")]
    let details = {
        let details = body.get("details").and_then(serde_json::Value::as_array);
        let details = details.map_or(&[][..], Vec::as_slice);
        nmfw_core::call::json::details_from_json(method, details)
    };
    #[cfg(not(feature = "json"))]
    let details = {
        _ = method;
        Vec::new()
    };
    Some((message, details))
}

/// Interprets a reply to a call of a method with this deadline.
pub(crate) fn decode(
    message: Message,
    method: Method,
    deadline: Deadline,
) -> Result<Response, Status> {
    let Some(headers) = message.headers else {
        return Ok(Response::new(message.payload));
    };
    let mut error = None;
    let mut error_code = None;
    let mut nmfw_status = None;
    let mut order = None;
    let mut json = false;
    let mut metadata = Metadata::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let first = values.first().map_or("", |value| value.as_str());
        if !is_reserved(name) {
            for value in values {
                if metadata.len() == MAX_VALUES {
                    log_limited!(
                        debug, name = %Escaped::new(name),
                        "skipped a header of a reply: there are too many"
                    );
                    break;
                }
                // A foreign service may send headers that are not valid metadata; its answer still
                // counts.
                if let Err(error) = metadata.append_wire(name, value.as_str()) {
                    log_limited!(debug, %error, "skipped a header of a reply");
                }
            }
        } else if name.eq_ignore_ascii_case("Nats-Service-Error") {
            error = Some(first);
        } else if name.eq_ignore_ascii_case("Nats-Service-Error-Code") {
            error_code = Some(first);
        } else if name.eq_ignore_ascii_case("Nmfw-Status") {
            nmfw_status = Some(first);
        } else if name.eq_ignore_ascii_case("Nmfw") {
            order = NmfwHeader::parse(first).ok().and_then(|nmfw| nmfw.order);
        } else if name.eq_ignore_ascii_case("Content-Type") {
            json = is_json(first);
        }
    }
    if let Some(order) = order {
        metadata.reorder(order);
    }
    let mut status = match (nmfw_status, error, error_code) {
        (None, None, None) => {
            return Ok(Response::with_metadata(message.payload, metadata));
        }
        (Some(nmfw_status), error, _) => {
            let body = match json {
                true => from_json_body(&message.payload, method),
                false => from_binary_body(&message.payload),
            };
            own_status(nmfw_status, error, body)
        }
        (None, error, error_code) => foreign_status(error, error_code, deadline),
    };
    *status.metadata_mut() = metadata;
    Err(status)
}

fn from_binary_body(body: &[u8]) -> Option<(String, Vec<Any>)> {
    let rpc = RpcStatus::decode(body).ok()?;
    (!body.is_empty()).then_some((rpc.message, rpc.details))
}

fn own_status(nmfw_status: &str, error: Option<&str>, body: Option<(String, Vec<Any>)>) -> Status {
    let mut fields = nmfw_status.split(';').map(str::trim);
    let number = fields.next().and_then(|code| code.parse().ok());
    let code = number.map_or(Code::Unknown, Code::from_number);
    let status = match body {
        Some((message, details)) => Status::new(code, message).with_details(details),
        None => Status::new(code, error.unwrap_or_default().to_owned()),
    };
    let status = status.returned_by("the service");
    if fields.any(|field| field == NOT_STARTED) {
        // Not started: the peer has set the mark.
        status.not_started()
    } else {
        status
    }
}

fn foreign_status(error: Option<&str>, error_code: Option<&str>, deadline: Deadline) -> Status {
    let error_code = error_code.unwrap_or_default();
    // Go nmfw sends the description as the error and its code in the other header; a handler's own
    // error arrives unchanged.
    let code = match error_code {
        "NO_IMPL" => Code::Unimplemented,
        "REQ_INVALID" => Code::InvalidArgument,
        _ => error_code.parse().map_or(Code::Unknown, Code::from_http),
    };
    let mut message = error.unwrap_or_default().to_owned();
    if let Some(left) = deadline.time_left()
        && message.contains(GO_DEADLINE)
        && left >= MIN_LEFT
    {
        message = format!(
            "{message}, {:.1} s before the call's deadline: the service has a shorter timeout, or \
             its clock is ahead of the caller's",
            left.as_secs_f64()
        );
    }
    match (code, error_code) {
        (_, "" | "ERROR" | "NO_IMPL" | "REQ_INVALID") => Status::new(code, message),
        (_, error_code) => Status::new(code, format!("{message} (code {error_code})")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nats::tests::SPEC;

    fn message(headers: Option<HeaderMap>, payload: Bytes) -> Message {
        Message {
            subject: "reply".into(),
            reply: None,
            payload,
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    fn read(message: Message) -> Result<Response, Status> {
        decode(message, SPEC.method(0), Deadline::NONE)
    }

    fn through_the_wire(status: Status) -> Status {
        let (headers, body, outcome) = encode(Err(status), 1 << 20);
        assert!(outcome.is_err());
        read(message(headers, body)).unwrap_err()
    }

    fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).unwrap().as_str()
    }

    #[test]
    fn details_metadata_and_not_started_survive() {
        let mut status = Status::aborted("100 % ä\nnew line")
            .with_detail(&"detail".to_owned())
            .not_started();
        status.metadata_mut().insert("a", "b").unwrap();
        let got = through_the_wire(status);
        assert_eq!(got.code(), Code::Aborted);
        assert_eq!(got.message(), "100 % ä\nnew line");
        assert_eq!(got.detail::<String>().as_deref(), Some("detail"));
        assert_eq!(got.metadata().get("a"), Some("b"));
        assert!(got.is_not_started());
    }

    #[test]
    fn the_adr_32_headers_are_what_its_clients_expect() {
        let (headers, _, _) = encode(Err(Status::not_found("")), 1 << 20);
        let headers = headers.unwrap();
        assert_eq!(header(&headers, "Nats-Service-Error"), "NOT_FOUND");
        assert_eq!(header(&headers, "Nats-Service-Error-Code"), "5");
        let (headers, _, _) = encode(Err(Status::internal("ä\n".repeat(900))), 1 << 20);
        let headers = headers.unwrap();
        let error = header(&headers, "Nats-Service-Error");
        assert!(error.len() <= MAX_ERROR_HEADER && error.starts_with("ä ä"));
    }

    #[test]
    fn an_ok_without_metadata_has_no_headers() {
        let (headers, body, _) = encode(Ok(Response::new(Bytes::from_static(b"x"))), 10);
        assert!(headers.is_none());
        assert_eq!(read(message(headers, body)).unwrap().body().unwrap(), "x");
    }

    #[test]
    fn an_oversized_answer_is_an_error_that_says_so() {
        let (headers, body, outcome) = encode(Ok(Response::new(vec![0; 211].into())), 210);
        assert_eq!(outcome.unwrap_err().code(), Code::ResourceExhausted);
        let status = read(message(headers, body)).unwrap_err();
        assert!(status.message().contains("211 bytes"), "{status}");
        assert!(status.message().contains("of 210"), "{status}");
    }

    #[test]
    fn details_that_do_not_fit_are_left_out() {
        let status = Status::aborted("m").with_detail(&"x".repeat(2000));
        let (headers, body, _) = encode(Err(status), 1000);
        assert!(super::super::size(headers.as_ref(), &body) <= 1000);
        let got = read(message(headers, body)).unwrap_err();
        assert_eq!((got.code(), got.message()), (Code::Aborted, "m"));
        assert!(got.details().is_empty());
    }

    /// Minimum of `max_payload` for an error: one character, and the status with its longest mark.
    const LEAST: usize =
        12 + "Nats-Service-Error: ?\r\n".len() + "Nmfw-Status: 16;answer-too-large\r\n".len();

    #[test]
    fn an_answer_over_a_small_limit_is_an_error_that_fits() {
        for max_payload in LEAST..300 {
            let answer = Response::new(vec![0; 301].into());
            let (headers, body, outcome) = encode(Ok(answer), max_payload);
            assert!(outcome.is_err());
            assert!(super::super::size(headers.as_ref(), &body) <= max_payload);
            let message = message(headers, body);
            assert!(is_answer_too_large(&message));
            let status = read(message).unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            let text = format!(
                "the response of 301 bytes exceeds the NATS server's max_payload of {max_payload} \
                 bytes"
            );
            let is_cut = text.starts_with(status.message());
            assert!(is_cut || max_payload < 120, "{max_payload}: {status}");
        }
    }

    #[test]
    fn errors_of_foreign_services() {
        for (error_code, code) in [
            ("NO_IMPL", Code::Unimplemented),
            ("REQ_INVALID", Code::InvalidArgument),
            ("ERROR", Code::Unknown),
            ("whatever", Code::Unknown),
            ("5", Code::Unknown),
            ("400", Code::InvalidArgument),
            ("404", Code::NotFound),
            ("429", Code::ResourceExhausted),
            ("503", Code::Unavailable),
            ("599", Code::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", "it broke");
            headers.insert("Nats-Service-Error-Code", error_code);
            let status = read(message(Some(headers), Bytes::new())).unwrap_err();
            assert_eq!(status.code(), code, "{error_code}");
            assert!(status.message().starts_with("it broke"), "{status}");
            assert!(!status.is_not_started());
        }
    }

    #[test]
    fn a_deadline_that_passed_too_early_names_clocks() {
        let status = |left| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", "adding: context deadline exceeded");
            headers.insert("Nats-Service-Error-Code", "ERROR");
            let message = message(Some(headers), Bytes::new());
            decode(message, SPEC.method(0), Deadline::after(left)).unwrap_err()
        };
        let early = status(Duration::from_secs(60));
        assert_eq!(early.code(), Code::Unknown);
        let text = early.message();
        assert!(
            text.starts_with("adding: context deadline exceeded, 60.0 s before"),
            "{text}"
        );
        assert!(text.contains("clock"), "{text}");
        let late = status(Duration::from_millis(50));
        assert_eq!(late.message(), "adding: context deadline exceeded");
    }

    #[test]
    fn an_error_is_never_taken_for_an_answer() {
        for (nmfw_status, code) in [
            ("0", Code::Internal),
            ("0;not-started", Code::Internal),
            ("", Code::Unknown),
            ("x", Code::Unknown),
            ("-1", Code::Unknown),
            ("99", Code::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("Nmfw-Status", nmfw_status);
            let status = read(message(Some(headers), Bytes::from_static(b"\xff"))).unwrap_err();
            assert_eq!(status.code(), code, "{nmfw_status}");
            let is_said = status
                .message()
                .contains("the service returned an error with the code OK");
            assert_eq!(is_said, code == Code::Internal, "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_status_survives(number in 1i32..17, text in ".{0,200}", not_started: bool) {
            let mut status = Status::new(Code::from_number(number), text);
            if not_started {
                status = status.not_started();
            }
            let got = through_the_wire(status.clone());
            prop_assert_eq!(got.code(), status.code());
            prop_assert_eq!(got.message(), status.message());
            prop_assert_eq!(got.is_not_started(), not_started);
        }

        #[test]
        fn any_error_fits(
            number in 1i32..17,
            text in ".{0,400}",
            not_started: bool,
            detail in proptest::option::of(".{0,300}"),
            names in proptest::collection::vec("[a-zA-Z]{1,9}", 0..4),
            max_payload in LEAST..2_000,
        ) {
            let mut status = Status::new(Code::from_number(number), text);
            if let Some(detail) = detail {
                status = status.with_detail(&detail);
            }
            for name in names {
                _ = status.metadata_mut().append(name, "value");
            }
            if not_started {
                status = status.not_started();
            }
            let (headers, body, _) = encode(Err(status.clone()), max_payload);
            prop_assert!(super::super::size(headers.as_ref(), &body) <= max_payload);
            let got = read(message(headers, body)).unwrap_err();
            prop_assert_eq!(got.code(), status.code());
            prop_assert_eq!(got.is_not_started(), not_started);
            prop_assert!(!got.message().is_empty() || status.message().is_empty());
        }

        #[test]
        fn metadata_keeps_its_order(
            entries in proptest::collection::vec(("[abAB]{1,2}(-bin)?", "[a-z]{0,3}"), 0..12),
        ) {
            let mut sent = Metadata::new();
            for (name, value) in entries {
                if sent.append(&name, value.clone()).is_err() {
                    sent.append_bin(&name, value.into_bytes()).unwrap();
                }
            }
            let answer = Response::with_metadata(Bytes::new(), sent.clone());
            let (headers, body, _) = encode(Ok(answer), 1 << 20);
            let got = read(message(headers, body)).unwrap();
            prop_assert_eq!(&got.metadata, &sent);
            let mut status = Status::aborted("x");
            *status.metadata_mut() = sent.clone();
            let got = through_the_wire(status);
            prop_assert_eq!(got.metadata(), &sent);
        }

        #[test]
        fn the_error_header_is_one_short_line(text in ".{0,600}") {
            let header = error_header(&Status::unknown(text), MAX_ERROR_HEADER);
            prop_assert!(!header.is_empty() && header.len() <= MAX_ERROR_HEADER);
            prop_assert!(!header.contains(char::is_control) && header.trim() == header);
        }
    }
}
