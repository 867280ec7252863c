//! What `--verbose` prints, and the failures of calls.

use std::time::Duration;

use nmfw::{Code, Metadata, MetadataValue, Method, Status};
use nmfw_schema::prost_reflect::DynamicMessage;

use crate::{
    codec::{self, Style},
    duration,
    failure::{Exit, Failure},
    output::{
        Output,
        text::{FAINT, peer},
    },
    target::Known,
};

/// The metadata with which a service reports where the time went.
const SERVER_TIMING: &str = "Server-Timing";

/// The most details of a status that are shown.
const MAX_DETAILS: usize = 16;

/// Prints the request on standard error.
pub(super) fn request(
    method: Method,
    base: &str,
    document: Option<&[u8]>,
    metadata: &Metadata,
    output: &Output,
) {
    let subject = format!("{base}.{}", method.name());
    line(
        output,
        &format!("> {} on {}", method.full_name(), peer(&subject)),
    );
    for (key, value) in metadata.wire() {
        line(output, &format!("> metadata {key}: {}", peer(&value)));
    }
    // The nats command makes calls with one request and one response only.
    if let Some(document) = document.filter(|_| !method.is_server_streaming()) {
        let document = String::from_utf8_lossy(document);
        let mut command = format!(
            "nats req {} {} -H Content-Type:application/json",
            quoted(&subject),
            quoted(if document.is_empty() {
                "{}"
            } else {
                document.trim()
            })
        );
        for (key, value) in metadata.wire() {
            command.push_str(&format!(" -H {}", quoted(&format!("{key}:{value}"))));
        }
        line(
            output,
            &format!("> {}", nmfw_core::escape::Escaped::whole(&command)),
        );
    }
}

/// Prints received metadata on standard error.
pub(super) fn metadata(what: &str, metadata: &Metadata, output: &Output) {
    for (key, value) in metadata {
        // It has a line of its own.
        if key.eq_ignore_ascii_case(SERVER_TIMING) {
            continue;
        }
        let value = match value {
            MetadataValue::Text(text) => peer(text),
            MetadataValue::Binary(bytes) => format!("{} bytes", bytes.len()),
        };
        line(output, &format!("< {what} {}: {value}", peer(key)));
    }
}

/// Asks the service to report where the time goes.
pub(super) fn ask_time(metadata: &mut Metadata) {
    // It fails only if there is too much metadata, and then the call does.
    _ = metadata.append(SERVER_TIMING, "?");
}

/// What a service reports about a call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Timing {
    instance: String,
    queue: Option<Duration>,
    handler: Option<Duration>,
}

impl Timing {
    /// Reads the report: `instance;desc="X", queue;dur=0.021, handler;dur=1.204`.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let mut timing = Self::default();
        for entry in metadata.get(SERVER_TIMING)?.split(',') {
            let Some((name, value)) = entry.trim().split_once(';') else {
                continue;
            };
            let millis = || {
                let millis: f64 = value.strip_prefix("dur=")?.parse().ok()?;
                Duration::try_from_secs_f64(millis / 1e3).ok()
            };
            match name {
                "instance" => {
                    let id = value.trim_start_matches("desc=").trim_matches('"');
                    id.clone_into(&mut timing.instance);
                }
                "queue" => timing.queue = millis(),
                "handler" => timing.handler = millis(),
                _ => {}
            }
        }
        Some(timing)
    }
}

/// Prints the time of a call, and where it went, on standard error.
pub(super) fn time(elapsed: Duration, timing: Option<&Timing>, output: &Output) {
    if let Some(timing) = timing {
        if !timing.instance.is_empty() {
            line(output, &format!("< instance {}", peer(&timing.instance)));
        }
        if let (Some(queue), Some(handler)) = (timing.queue, timing.handler) {
            let wire = elapsed.saturating_sub(queue + handler);
            let [wire, queue, handler] = [wire, queue, handler].map(duration::short);
            line(
                output,
                &format!("< {wire} on the wire, {queue} queued, {handler} in the handler"),
            );
        }
    }
    line(output, &format!("< {} in total", duration::short(elapsed)));
}

fn line(output: &Output, text: &str) {
    output.note(&format!("{FAINT}{text}{FAINT:#}\n"));
}

/// Returns the failure for the status of a call.
pub(super) fn failure(known: &Known, status: &Status) -> Failure {
    let method = known.method;
    let (service, name) = (method.service().full_name(), method.name());
    let mut failure =
        Failure::new(format!("{service}/{name}: {status}")).exit(Exit::Status(status.code()));
    for detail in status.details().iter().take(MAX_DETAILS) {
        failure = failure.detail(shown(known, &detail.type_url, &detail.value));
    }
    if let more @ 1.. = status.details().len().saturating_sub(MAX_DETAILS) {
        failure = failure.detail(format!("{more} more"));
    }
    let others = status.metadata().wire();
    for (key, value) in others.filter(|(key, _)| !key.eq_ignore_ascii_case(SERVER_TIMING)) {
        failure = failure.detail(format!("metadata {key}: {value}"));
    }
    match status.code() {
        Code::DeadlineExceeded => failure.hint("give it more time with --deadline"),
        Code::Unavailable if status.is_not_started() => {
            failure.hint(format!("`nmfw ping {service}` shows which instances serve"))
        }
        Code::PermissionDenied if status.is_not_started() => failure.hint(format!(
            "`nmfw permissions {service} --role client` prints the permissions that a caller needs"
        )),
        _ => failure,
    }
}

/// Returns a detail as JSON, if the schema has its type.
fn shown(known: &Known, type_url: &str, value: &[u8]) -> String {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let style = Style {
        pretty: false,
        defaults: false,
    };
    let message = known.schema.message(name);
    let message = message.and_then(|message| DynamicMessage::decode(message, value).ok());
    match message.and_then(|message| codec::from_dynamic(&message, style).ok()) {
        Some(json) => format!("{name} {json}"),
        None => format!("{name} ({} bytes)", value.len()),
    }
}

/// Quotes a word for a shell, if it needs quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_time_is_read() {
        let of = |value: &str| {
            let mut metadata = Metadata::new();
            metadata.append("server-timing", value).unwrap();
            Timing::of(&metadata).unwrap()
        };
        let timing = of("instance;desc=\"X1\", queue;dur=0.021, handler;dur=1.204");
        assert_eq!(timing.instance, "X1");
        assert_eq!(timing.queue, Some(Duration::from_micros(21)));
        assert_eq!(timing.handler, Some(Duration::from_micros(1204)));
        for wrong in [
            "x",
            "queue;dur=-1, handler;dur=NaN",
            "queue;dur=1e300",
            ";;,;",
        ] {
            let timing = of(wrong);
            assert!(
                timing.queue.is_none() && timing.handler.is_none(),
                "{wrong}"
            );
        }
        assert_eq!(Timing::of(&Metadata::new()), None);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("nmfw.calc.Add", "nmfw.calc.Add"),
            ("", "''"),
            ("{\"a\": 1}", "'{\"a\": 1}'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
