//! Discovery by ADR-32: the instances that answer, their endpoints and their figures.
//!
//! Any peer that may subscribe to `$SRV.>` can answer. So nothing in an answer is trusted: its size and
//! number are bounded, what is not valid is counted, and texts are escaped where they are shown.

mod answer;
mod ask;
mod census;
mod find;
mod first;

pub(crate) use answer::{Endpoint, EndpointStats, Identity};
pub(crate) use ask::survey;
pub(crate) use census::{Instance, Survey};
pub(crate) use find::find;
pub(crate) use first::first;

/// A verb of ADR-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Ping,
    Info,
    Stats,
}

impl Verb {
    fn token(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }

    /// Returns the type of answers, without the version of the protocol.
    fn answer_type(self) -> &'static str {
        match self {
            Self::Ping => "ping_response",
            Self::Info => "info_response",
            Self::Stats => "stats_response",
        }
    }
}

/// Returns the subject on which a verb asks the instances of a service, or all.
fn subject(verb: Verb, service: Option<&str>) -> String {
    match service {
        Some(service) => format!("$SRV.{}.{service}", verb.token()),
        None => format!("$SRV.{}", verb.token()),
    }
}

/// Returns the survey of these answers to a verb, for tests.
#[cfg(test)]
pub(crate) fn census_of(verb: Verb, answers: impl IntoIterator<Item = String>) -> Survey {
    let now = std::time::Instant::now();
    let mut census = census::Census::new(&[verb], now);
    for answer in answers {
        census.add(verb, answer.as_bytes(), now);
    }
    census.finish()
}
