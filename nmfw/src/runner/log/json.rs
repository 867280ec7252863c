//! Log lines as JSON: one object per line, including the fields of all spans.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use serde::Serialize;
use serde_json::ser::Formatter;
use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, Scope, SpanRef},
};

use super::{fields::Fields, process};
use nmfw_core::{call::deadline::format_rfc3339, escape::acts, observe::trace::CALL};

/// Names of the line's own fields. Other fields of the same name get the prefix `fields.`.
const RESERVED: [(&str, &str); 4] = [
    ("time", "fields.time"),
    ("level", "fields.level"),
    ("msg", "fields.msg"),
    ("target", "fields.target"),
];

/// Writes log lines.
pub(super) struct Json<W>(W);

impl<W> Json<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<S, W> Layer<S> for Json<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut fields);
        if attributes.metadata().target() == CALL {
            fields = call(fields);
        }
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let spans = ctx.event_scope(event);
        let spans = spans.into_iter().flat_map(Scope::from_root);
        let line = line(event, spans);
        let mut text = Vec::with_capacity(256);
        let mut json = serde_json::Serializer::with_formatter(&mut text, OneLine);
        if line.serialize(&mut json).is_err() {
            return;
        }
        text.push(b'\n');
        // In one piece, so that lines of several threads do not mix. There is nothing to do if it
        // fails.
        _ = self.0.make_writer_for(event.metadata()).write_all(&text);
    }
}

/// Escapes characters that would act on a terminal, beyond the requirements of JSON.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        if !fragment.contains(acts) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            let mut utf_16 = [0; 2];
            match acts(c) {
                true => c
                    .encode_utf16(&mut utf_16)
                    .iter()
                    .try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
                false => write!(writer, "{c}")?,
            }
        }
        Ok(())
    }
}

fn line<'a, S>(event: &Event<'_>, spans: impl Iterator<Item = SpanRef<'a, S>>) -> Fields
where
    S: Subscriber + LookupSpan<'a> + 'a,
{
    let mut own = Fields::new();
    event.record(&mut own);
    let message = own.take("message");

    // Fields closer to the event override outer ones.
    let mut fields = process::fields();
    for span in spans {
        if let Some(of_span) = span.extensions().get::<Fields>() {
            fields.extend(of_span);
        }
    }
    fields.extend(&own);

    let metadata = event.metadata();
    let mut line = Fields::new();
    line.set("time", format_rfc3339(SystemTime::now().into()));
    line.set("level", level(metadata));
    line.set("msg", message.unwrap_or_default());
    for (name, value) in fields.iter() {
        let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == name);
        let name = reserved.map_or(name, |(_, instead)| instead);
        line.set(name, value.clone());
    }
    line.set("target", metadata.target());
    line
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Renames the fields of a call's span to those of Go nmfw.
fn call(mut span: Fields) -> Fields {
    let mut fields = Fields::new();
    for (name, from) in [
        ("service", "service.name"),
        ("version", "service.version"),
        ("function", "rpc.method"),
        ("instance", "service.instance.id"),
    ] {
        if let Some(value) = span.take(from) {
            fields.set(name, value);
        }
    }
    // The method without the service, which is a separate field.
    let method = fields
        .text("function")
        .and_then(|name| name.rsplit('/').next());
    if let Some(method) = method.map(str::to_owned) {
        fields.set("function", method);
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct JsonOutput(Arc<Mutex<Vec<u8>>>);

    impl Write for JsonOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines logged by `log`, without their times.
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = JsonOutput::default();
        let writer = written.clone();
        let layer = Json::new(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains(|c| c != '\n' && acts(c)), "{text:?}");
        text.lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let time = line.as_object_mut().unwrap().remove("time").unwrap();
                assert_eq!(
                    time.as_str().unwrap().len(),
                    "2026-03-01T12:00:00.400Z".len()
                );
                line
            })
            .collect()
    }

    #[test]
    fn fields_of_spans_are_fields_of_the_line() {
        let lines = lines(|| {
            let outer = tracing::info_span!(
                "outer",
                tenant = "acme",
                shard = 1,
                late = tracing::field::Empty
            );
            let _outer = outer.enter();
            let inner = tracing::info_span!("inner", shard = 2);
            outer.record("late", true);
            inner.in_scope(
                || tracing::warn!(target: "t", tenant = "own", ratio = 0.5, "it \"is\" {}", 1),
            );
        });
        let expected = json!({
            "level": "warn", "msg": "it \"is\" 1", "target": "t",
            "tenant": "own", "shard": 2, "late": true, "ratio": 0.5,
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn a_call_is_told_in_the_words_of_the_original() {
        let lines = lines(|| {
            let span = tracing::info_span!(
                target: CALL, "call",
                otel.kind = "server", rpc.method = "calc.Calc/Add",
                service.name = "calc", service.version = "0.0.2", service.instance.id = "XYZ",
            );
            span.in_scope(|| tracing::info!(target: "t", "calculating"));
        });
        let expected = json!({
            "level": "info", "msg": "calculating", "target": "t",
            "service": "calc", "version": "0.0.2", "function": "Add", "instance": "XYZ",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn hostile_fields_make_no_bad_line() {
        let lines = lines(|| {
            tracing::error!(
                target: "t", level = "none", msg = "a\nb\u{1b}\"\u{202e}\u{9b}\u{e0001}", time = f64::INFINITY,
                large = u128::MAX, error = %io::Error::other("bad"),
            );
        });
        let expected = json!({
            "level": "error", "msg": null, "target": "t",
            "fields.level": "none", "fields.msg": "a\nb\u{1b}\"\u{202e}\u{9b}\u{e0001}", "fields.time": null,
            "large": u128::MAX.to_string(), "error": "bad",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn errors_come_with_their_causes() {
        let cause = crate::Error::new(crate::ErrorKind::Other, "cannot start")
            .with_source(io::Error::other("no room"));
        let lines = lines(|| {
            let error: &(dyn std::error::Error + 'static) = &cause;
            tracing::error!(target: "t", error, "failed");
        });
        assert_eq!(lines[0]["error"], "cannot start: no room");
    }
}
