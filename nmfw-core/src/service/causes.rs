//! Logging of the causes of failed calls, which are for the operator, not for the caller.

use crate::{
    Method, Status,
    error::causes,
    escape::Escaped,
    observe::trace::{CallSpan, is_fault_of_service},
};

/// Maximum length of the causes in a log line, in bytes.
const MAX_SOURCE: usize = 2048;

/// Logs the causes of an error, unless its message includes them, because the caller sees only the
/// message.
pub(crate) fn log(method: Method, call: Option<&CallSpan>, status: &Status) {
    let causes = causes(status);
    if causes.is_empty() {
        return;
    }
    let _entered = call.map(CallSpan::enter);
    // The causes may contain data from a peer, such as a text that could not be parsed.
    let source = causes.join(": ");
    let source = Escaped::up_to(&source, MAX_SOURCE);
    if is_fault_of_service(status.code()) {
        log_limited!(warn, %method, %status, %source, "a call failed");
    } else {
        log_limited!(debug, %method, %status, %source, "a call failed");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{
        Level, Subscriber,
        field::{Field, Visit},
    };
    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::*;
    use crate::call::method::tests::SPEC;

    /// Records the levels and fields of logged events.
    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<(Level, String)>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            write!(self.0, "{field}={value:?} ").unwrap();
        }
    }

    impl<S: Subscriber> Layer<S> for Events {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            let line = (*event.metadata().level(), fields.0);
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn what_a_caller_does_not_see_is_logged() {
        let io = |kind| Status::from(std::io::Error::new(kind, "/srv/secret"));
        let lines = Events::default();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(lines.clone()),
            || {
                for status in [
                    io(std::io::ErrorKind::ConnectionRefused),
                    io(std::io::ErrorKind::NotFound),
                    Status::internal("without a source"),
                    Status::from("x".parse::<u8>().unwrap_err()),
                ] {
                    log(SPEC.method(1), None, &status);
                }
            },
        );
        let lines = lines.0.lock().unwrap();
        let [(first, refused), (second, missing)] = &lines[..] else {
            panic!("{lines:?}");
        };
        // The code decides whose fault an error is.
        assert_eq!((*first, *second), (Level::WARN, Level::DEBUG));
        for (line, text) in [
            (refused, "UNAVAILABLE: connection refused"),
            (missing, "NOT_FOUND"),
        ] {
            assert!(line.contains("method=calc.Calc.Add"), "{line}");
            assert!(line.contains(text), "{line}");
            assert!(line.contains("/srv/secret"), "{line}");
        }
    }
}
