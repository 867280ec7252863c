//! The names and descriptions of all metrics. A test compares them with the table in the
//! documentation.

use metrics::Unit;

/// The type of a metric in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($name:ident = $text:literal, $kind:ident $(in $unit:ident)?, $help:literal;)*) => {
        $(pub const $name: &str = $text;)*

        pub(crate) const ALL: &[Metric] = &[$(Metric {
            name: $text,
            kind: MetricKind::$kind,
            unit: metrics!(@ $($unit)?),
            help: $help,
        },)*];
    };
    (@) => { None };
    (@ $unit:ident) => { Some(Unit::$unit) };
}

metrics! {
    // The first three are those of Go nmfw, for its dashboards and alerts.
    HANDLER_RUNTIME = "nmfw_handler_runtime", Histogram in Seconds,
        "Time from the start of a handler to its response, or to the end of its stream";
    HANDLER_ERRORS = "nmfw_handler_errors", Counter,
        "Calls whose handler returned an error";
    ERRORS = "nmfw_errors", Counter,
        "Calls that failed outside of their handler: refused, or with a response that cannot be sent";
    SERVER_REQUESTS = "nmfw_server_requests_total", Counter,
        "Completed calls, by status code";
    SERVER_NOT_STARTED = "nmfw_server_not_started_total", Counter,
        "Calls answered as not started, so that the client can send them to another instance";
    SERVER_DISPLACED = "nmfw_server_displaced_total", Counter,
        "Queued calls that were refused in favour of a client with fewer queued calls";
    SERVER_STALLED = "nmfw_server_stalled_streams_total", Counter,
        "Stalled streams that were ended because other calls needed their handler slots";
    SERVER_RECEIVED_BYTES = "nmfw_server_received_bytes_total", Counter in Bytes,
        "Encoded requests";
    SERVER_SENT_BYTES = "nmfw_server_sent_bytes_total", Counter in Bytes,
        "Encoded responses";
    SERVER_RECEIVED_MESSAGES = "nmfw_server_stream_messages_received_total", Counter,
        "Messages of request streams";
    SERVER_SENT_MESSAGES = "nmfw_server_stream_messages_sent_total", Counter,
        "Messages of response streams";
    SERVER_IN_FLIGHT = "nmfw_server_in_flight", Gauge,
        "Running handlers, sampled once a second";
    SERVER_QUEUE = "nmfw_server_queue_depth", Gauge,
        "Queued calls, sampled once a second";
    SERVER_LIMIT = "nmfw_server_concurrency_limit", Gauge,
        "Maximum number of concurrent handlers";
    SERVER_UTILIZATION = "nmfw_server_utilization_ratio", Gauge,
        "Running handlers and queued calls, divided by the concurrency limit; above 1 calls are queued";
    CLIENT_REQUESTS = "nmfw_client_requests_total", Counter,
        "Completed calls, by status code";
    CLIENT_DURATION = "nmfw_client_request_duration_seconds", Histogram in Seconds,
        "Time from the call to its response, or to the end of its stream, including all attempts";
    CLIENT_IN_FLIGHT = "nmfw_client_in_flight", Gauge,
        "Calls in flight";
    CLIENT_REDISPATCHES = "nmfw_client_redispatches_total", Counter,
        "Calls that were resent because no instance had started them";
    CLIENT_RETRIES = "nmfw_client_retries_total", Counter,
        "Failed calls that a retry layer made again";
    CLIENT_HEDGES = "nmfw_client_hedges_total", Counter,
        "Second attempts that a hedge layer sent for slow calls";
    CLIENT_HEDGE_WINS = "nmfw_client_hedge_wins_total", Counter,
        "Hedged calls whose second attempt was answered first";
    CLIENT_CIRCUITS_OPEN = "nmfw_client_circuits_open", Gauge,
        "Circuits of circuit breaker layers that are open or half-open";
    CLIENT_CIRCUIT_OPENINGS = "nmfw_client_circuit_openings_total", Counter,
        "Circuits that a circuit breaker layer opened, including those reopened by a failed probe";
    CLIENT_CIRCUIT_REFUSALS = "nmfw_client_circuit_refusals_total", Counter,
        "Calls refused because their circuit was open";
    CLIENT_RATE_LIMIT_WAITS = "nmfw_client_rate_limit_waits_total", Counter,
        "Calls that a rate limit layer delayed";
    CLIENT_RATE_LIMIT_REFUSALS = "nmfw_client_rate_limit_refusals_total", Counter,
        "Calls that a rate limit layer refused";
    CLIENT_SENT_BYTES = "nmfw_client_sent_bytes_total", Counter in Bytes,
        "Encoded requests, counted once per call";
    CLIENT_RECEIVED_BYTES = "nmfw_client_received_bytes_total", Counter in Bytes,
        "Encoded responses";
    CLIENT_SENT_MESSAGES = "nmfw_client_stream_messages_sent_total", Counter,
        "Messages of request streams, counted once per call";
    CLIENT_RECEIVED_MESSAGES = "nmfw_client_stream_messages_received_total", Counter,
        "Messages of response streams";
    SESSIONS = "nmfw_sessions", Gauge,
        "Sessions, including those being opened";
    SESSIONS_REFUSED = "nmfw_sessions_refused_total", Counter,
        "Sessions that were refused because too many were open or being opened";
    SESSIONS_EVICTED = "nmfw_sessions_evicted_total", Counter,
        "Sessions that were closed to make room for others";
    WINDOW_STALLS = "nmfw_session_window_stalls_total", Counter,
        "Times that a stream had to wait for its peer's window";
    RETRANSMISSIONS = "nmfw_session_retransmissions_total", Counter,
        "Packets that were sent again after a loss";
    DROPPED_PACKETS = "nmfw_session_dropped_packets_total", Counter,
        "Packets that were dropped for an invalid proof or a full buffer";
    DROPPED_ANSWERS = "nmfw_session_dropped_answers_total", Counter,
        "Packets of closed sessions that were not answered because of the rate limit";
    RECONNECTS = "nmfw_connection_reconnects_total", Counter,
        "Reconnects to NATS, including moves away from a server that shuts down";
    DROPPED = "nmfw_connection_dropped_messages_total", Counter,
        "Messages that were lost because a subscription's buffer was full";
    REFUSED_REPLIES = "nmfw_connection_refused_reply_subjects_total", Counter,
        "Messages that were dropped for a forbidden reply subject";
}

/// Describes the metrics to the recorder.
pub(crate) fn describe() {
    for metric in ALL {
        let (name, help) = (metric.name, metric.help);
        match (metric.kind, metric.unit) {
            (MetricKind::Counter, None) => metrics::describe_counter!(name, help),
            (MetricKind::Counter, Some(unit)) => metrics::describe_counter!(name, unit, help),
            (MetricKind::Gauge, None) => metrics::describe_gauge!(name, help),
            (MetricKind::Gauge, Some(unit)) => metrics::describe_gauge!(name, unit, help),
            (MetricKind::Histogram, None) => metrics::describe_histogram!(name, help),
            (MetricKind::Histogram, Some(unit)) => metrics::describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../docs/metrics.md");

    #[test]
    fn all_are_in_the_documentation_and_nothing_else_is() {
        for metric in ALL {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let begin = format!("| `{}` | {kind} |", metric.name);
            let row = TABLE.lines().find(|line| line.starts_with(&begin));
            let row = row.unwrap_or_else(|| panic!("no row begins with {begin}"));
            assert!(row.contains(metric.help), "{row}: not {}", metric.help);
        }
        let rows = TABLE
            .lines()
            .filter(|line| line.starts_with("| `nmfw_"))
            .count();
        assert_eq!(rows, ALL.len());
    }

    /// All names except those of Go nmfw follow the conventions of Prometheus.
    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL.iter().skip(3) {
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            match metric.unit {
                Some(Unit::Bytes) => assert!(metric.name.contains("_bytes")),
                Some(Unit::Seconds) => assert!(metric.name.ends_with("_seconds")),
                _ => {}
            }
        }
    }
}
