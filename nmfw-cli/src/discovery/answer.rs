//! Answers of services.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::Verb;

/// The largest answer that is read, in bytes. The answer of a service with a thousand methods is
/// smaller.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;

/// The longest name, id or version, in bytes.
const MAX_NAME: usize = 256;

/// The part that all answers have.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Identity {
    #[serde(default, deserialize_with = "or_default")]
    r#type: String,
    pub(crate) name: String,
    pub(crate) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) version: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// An answer to a verb.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    pub(super) identity: Identity,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) started: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) endpoints: Vec<serde_json::Value>,
}

/// An endpoint in INFO.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) subject: String,
    /// `None` if the service does not report it, as before ADR-32 had it.
    #[serde(default)]
    pub(crate) queue_group: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Endpoint {
    /// Returns the full name of the method in the `.proto`, if it is one of nmfw.
    pub(crate) fn method(&self) -> Option<&str> {
        self.metadata.get("nmfw.method").map(String::as_str)
    }
}

/// The figures of an endpoint in STATS.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EndpointStats {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) num_requests: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) num_errors: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) last_error: String,
    /// In nanoseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) processing_time: u64,
    /// Data that a service adds; services of nmfw have the fields of [`Load`].
    #[serde(default)]
    data: serde_json::Value,
}

/// The load of an endpoint of nmfw.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Load {
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) concurrency: u64,
    pub(crate) queue: u64,
}

impl EndpointStats {
    /// Returns the load, which only services of nmfw report.
    pub(crate) fn load(&self) -> Option<Load> {
        Load::deserialize(&self.data).ok()
    }

    /// Returns the health, which only services of nmfw report: `SERVING` or `NOT_SERVING`.
    pub(crate) fn health(&self) -> Option<&str> {
        self.data.get("health")?.get("status")?.as_str()
    }

    /// Returns the checks that fail, with their errors.
    pub(crate) fn failing(&self) -> Vec<(String, String)> {
        let checks = self
            .data
            .get("health")
            .and_then(|health| health.get("checks"));
        let checks = checks.and_then(|checks| checks.as_array());
        let text = |check: &serde_json::Value, key: &str| {
            let text = check.get(key).and_then(|text| text.as_str());
            text.unwrap_or_default().to_owned()
        };
        checks
            .into_iter()
            .flatten()
            .filter(|check| text(check, "status") == "NOT_SERVING")
            .map(|check| (text(check, "name"), text(check, "error")))
            .collect()
    }
}

/// Reads null like a value that is missing, because foreign services send it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an answer, or says why it is not one.
pub(super) fn read(verb: Verb, payload: &[u8]) -> Result<Answer, String> {
    if payload.len() > MAX_ANSWER {
        return Err(format!("it has {} bytes", payload.len()));
    }
    let answer: Answer = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let identity = &answer.identity;
    let (found, expected) = (&identity.r#type, verb.answer_type());
    if !found.is_empty() && !found.ends_with(expected) {
        return Err(format!("its type is {found:?} instead of {expected}"));
    }
    for (what, text) in [("name", &identity.name), ("id", &identity.id)] {
        if text.is_empty() {
            return Err(format!("its {what} is empty"));
        }
    }
    for (what, text) in [
        ("name", &identity.name),
        ("id", &identity.id),
        ("version", &identity.version),
    ] {
        if text.len() > MAX_NAME {
            return Err(format!("its {what} has {} bytes", text.len()));
        }
    }
    Ok(answer)
}

/// Reads the endpoints of an answer, and returns how many are not valid.
pub(super) fn endpoints<T: for<'de> Deserialize<'de>>(
    values: Vec<serde_json::Value>,
) -> (Vec<T>, usize) {
    let all = values.len();
    let read = values.into_iter().map(serde_json::from_value);
    let valid: Vec<T> = read.filter_map(Result::ok).collect();
    let invalid = all - valid.len();
    (valid, invalid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn answers_of_other_frameworks_are_read() {
        for text in [
            r#"{"type":"io.nats.micro.v1.info_response","name":"a","id":"1","version":"1.0.0",
                "metadata":null,"description":null,"endpoints":null}"#,
            r#"{"name":"a","id":"1"}"#,
            r#"{"name":"a","id":"1","endpoints":[{"name":"e","subject":"e","queue_group":null,
                "metadata":null,"more":{}}],"more":[1]}"#,
        ] {
            let answer = read(Verb::Info, text.as_bytes()).unwrap();
            let (_, invalid) = endpoints::<Endpoint>(answer.endpoints);
            assert_eq!(invalid, 0, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let long = format!(r#"{{"name":"{}","id":"1"}}"#, "x".repeat(300));
        let deep = format!(r#"{{"name":"a","id":"1","data":{}"#, "[".repeat(200_000));
        for (text, why) in [
            ("", "EOF"),
            ("[]", "invalid type"),
            (r#"{"name":"a"}"#, "missing field `id`"),
            (r#"{"name":"","id":"1"}"#, "its name is empty"),
            (
                r#"{"name":"a","id":"1","type":"io.nats.micro.v1.ping_response"}"#,
                "its type",
            ),
            (r#"{"name":7,"id":"1"}"#, "invalid type"),
            (long.as_str(), "300 bytes"),
            (deep.as_str(), "recursion limit"),
        ] {
            let error = read(Verb::Info, text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let large = vec![b' '; MAX_ANSWER + 1];
        assert!(read(Verb::Info, &large).is_err());
    }

    #[test]
    fn load_and_health_are_optional() {
        let read = |data: &str| -> EndpointStats {
            serde_json::from_str(&format!(
                r#"{{"name":"a","num_requests":null,"data":{data}}}"#
            ))
            .unwrap()
        };
        let full = read(
            r#"{"running":1,"waiting":2,"concurrency":3,"queue":4,"health":{"status":"NOT_SERVING",
                "checks":[{"name":"db","status":"NOT_SERVING","error":"gone"},
                          {"name":"ok","status":"SERVING"}]}}"#,
        );
        assert_eq!(full.load().unwrap().queue, 4);
        assert_eq!(full.health(), Some("NOT_SERVING"));
        assert_eq!(full.failing(), [("db".to_owned(), "gone".to_owned())]);
        for data in ["null", "{}", "7", r#"{"running":"x","health":[]}"#] {
            let foreign = read(data);
            assert!(foreign.load().is_none() && foreign.health().is_none());
            assert!(foreign.failing().is_empty());
        }
    }
}
