//! Calls of endpoints that are not made with nmfw: bytes in, bytes out.

use std::time::Duration;

use nmfw::{
    Code, Connection, Metadata,
    async_nats::{ConnectionExt, HeaderMap, RequestErrorKind},
};

use super::input::Input;
use crate::{
    failure::{Exit, Failure},
    output::{Output, text},
};

/// Sends the data to a subject, and prints the answer as it is.
pub(super) async fn call(
    nats: &Connection,
    subject: &str,
    input: Input,
    metadata: &Metadata,
    limit: Duration,
    output: &Output,
) -> Result<(), Failure> {
    let request = input.document().await?;
    let mut headers = HeaderMap::new();
    for (key, value) in metadata.wire() {
        headers.append(key, value);
    }
    let asking = nats
        .client()
        .request_with_headers(subject.to_owned(), headers, request.into());
    let failed = |code: Code, why: String| {
        Failure::new(format!("{subject}: {}: {why}", code.name())).exit(Exit::Status(code))
    };
    let answer = match tokio::time::timeout(limit, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            return Err(failed(
                Code::Unavailable,
                "nothing answers there".to_owned(),
            ));
        }
        Ok(Err(error)) => return Err(failed(Code::Unavailable, error.to_string())),
        Err(_) => {
            let late = failed(
                Code::DeadlineExceeded,
                format!("no answer within {limit:?}"),
            );
            return Err(late.hint("give it more time with --deadline"));
        }
    };
    let header = |name: &str| {
        let headers = answer.headers.as_ref()?;
        headers.get(name).map(|value| value.as_str().to_owned())
    };
    let (error, code) = (
        header("Nats-Service-Error"),
        header("Nats-Service-Error-Code"),
    );
    if error.is_some() || code.is_some() {
        let number = code
            .as_deref()
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        let why = match (error, code) {
            (Some(error), Some(code)) => format!("{error} ({code})"),
            (error, code) => error.or(code).unwrap_or_default(),
        };
        return Err(failed(Code::from_http(number), why));
    }
    match output.is_terminal() {
        // The bytes are a peer's.
        true => {
            let text = String::from_utf8_lossy(&answer.payload);
            let lines = text
                .lines()
                .map(|line| nmfw_core::escape::Escaped::whole(line).to_string());
            output.print(&format!("{}\n", lines.collect::<Vec<_>>().join("\n")))
        }
        false => output.print_raw(&answer.payload),
    }?;
    if answer.payload.is_empty() && output.is_terminal() {
        output.note(&format!("{0}an empty answer{0:#}\n", text::FAINT));
    }
    Ok(())
}
