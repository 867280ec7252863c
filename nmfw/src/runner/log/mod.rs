//! [`Log`]: the destination and format of log lines.

mod fields;
mod json;
pub(super) mod process;

use std::{
    env, fmt,
    io::{self, IsTerminal},
    sync::atomic::{AtomicBool, Ordering},
};

use clap::{ArgAction, Args, ValueEnum, builder::FalseyValueParser};
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        FormatFields,
        format::{self, Writer},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::json::Json;
use super::variable;
use crate::{Error, ErrorKind};
use nmfw_core::{escape::Escaped, observe::trace::CALL};

/// Whether log lines are JSON, in which case standard error must contain nothing else.
static IS_JSON: AtomicBool = AtomicBool::new(false);

pub(super) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

// Included from a file, because clap would use a comment here as a help text.
#[doc = include_str!("../../docs/cli/log.md")]
#[derive(Clone, Debug, Default, Args)]
#[group(id = "nmfw::cli::Log")]
#[non_exhaustive]
pub struct Log {
    /// Whether to log at level debug.
    #[arg(
        long,
        env = variable::counting("NMFW_DEBUG", "DEBUG"),
        hide_env = true,
        action = ArgAction::SetTrue,
        value_parser = FalseyValueParser::new(),
        help_heading = "Logging",
        help = "Log at level debug [env: NMFW_DEBUG, DEBUG]",
        long_help = "\
Log at level debug

$RUST_LOG takes precedence and is more flexible, for instance info,nmfw=trace. The default is \
info,async_nats=warn. $NMFW_DEBUG takes precedence over $DEBUG, which other programs also read.

[env: NMFW_DEBUG, DEBUG]"
    )]
    pub debug: bool,

    /// Log as json or pretty [default: pretty on a terminal, otherwise json]
    ///
    /// json is one object per line, for programs; pretty is text, for people. Both go to standard
    /// error.
    #[arg(
        hide_possible_values = true,
        long = "log",
        id = "log",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    pub format: Option<LogFormat>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// One JSON object per line, for programs
    Json,
    /// Text, for people
    Pretty,
}

impl Log {
    /// Sets up logging according to the arguments. Has no effect if the program already has a
    /// `tracing` subscriber.
    ///
    /// With JSON, panics become log lines, too.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if `$RUST_LOG` is invalid.
    pub fn init(&self) -> Result<(), Error> {
        let filter = self.filter(env::var("RUST_LOG").ok().as_deref())?;
        let registry = tracing_subscriber::registry().with(filter);
        let is_terminal = io::stderr().is_terminal();
        let format = self.format.unwrap_or(match is_terminal {
            true => LogFormat::Pretty,
            false => LogFormat::Json,
        });
        match format {
            LogFormat::Json => {
                if registry.with(Json::new(io::stderr)).try_init().is_ok() {
                    IS_JSON.store(true, Ordering::Relaxed);
                    log_panics();
                }
            }
            LogFormat::Pretty => {
                let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let pretty = tracing_subscriber::fmt::layer()
                    .fmt_fields(one_line())
                    .with_writer(io::stderr)
                    .with_ansi(is_terminal && !no_color);
                // Fails if there is already a subscriber, which is the program's choice.
                _ = registry.with(pretty).try_init();
            }
        }
        Ok(())
    }

    fn filter(&self, rust_log: Option<&str>) -> Result<EnvFilter, Error> {
        // `nmfw` also logs the `info` events of async-nats, within limits.
        let default = match self.debug {
            true => "debug,async_nats=warn",
            false => "info,async_nats=warn",
        };
        let directives = rust_log.filter(|text| !text.is_empty()).unwrap_or(default);
        // Always includes the spans of calls, so that a handler's lines name their call at any
        // level.
        EnvFilter::try_new(format!("{CALL}=info,{directives}")).map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "$RUST_LOG is {directives:?}, which is not a valid filter: use a level such as \
                     \"debug\", or targets with levels such as \"info,nmfw=debug\""
                ),
            )
            .with_source(error)
        })
    }
}

/// Formats fields so that an event stays on one line and cannot act on the terminal.
fn one_line() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let text = format!("{value:?}");
        let text = Escaped::whole(&text);
        match field.name() {
            "message" => write!(writer, "{text}"),
            name => write!(writer, "{name}={text}"),
        }
    };
    format::debug_fn(field).delimited(" ")
}

/// Logs panics. Most panics come from handlers; the span names the method.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            (None, None) => "a panic without a message",
        };
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked: {text}");
    }));
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_stays_on_its_line() {
        let written = Written::default();
        let writer = written.clone();
        let pretty = tracing_subscriber::fmt::layer()
            .fmt_fields(one_line())
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(pretty);
        tracing::subscriber::with_default(subscriber, || {
            let name = "a\nERROR b\u{1b}[2J\u{202e}";
            let span = tracing::info_span!(target: "t", "s", name);
            span.in_scope(|| tracing::info!(target: "t", name, count = 2, "it is {name}"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(
            !text.trim_end().contains(nmfw_core::escape::acts),
            "{text:?}"
        );
        assert!(
            text.contains(" it is a\\nERROR b\\u{1b}[2J\\u{202e} name="),
            "{text:?}"
        );
        assert!(text.ends_with(" count=2\n"), "{text:?}");
    }

    #[test]
    fn what_gets_through() {
        let quiet = Log::default();
        let debug = Log {
            debug: true,
            ..Log::default()
        };
        let shown = |log: &Log, rust_log| log.filter(rust_log).unwrap().to_string();
        assert_eq!(shown(&quiet, None), "nmfw::call=info,async_nats=warn,info");
        assert_eq!(
            shown(&debug, Some("")),
            "nmfw::call=info,async_nats=warn,debug"
        );
        assert_eq!(shown(&debug, Some("warn")), "nmfw::call=info,warn");
        assert_eq!(shown(&quiet, Some("nmfw::call=off")), "nmfw::call=off");
        let error = quiet.filter(Some("a=b=c")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("\"a=b=c\""), "{error}");
    }
}
