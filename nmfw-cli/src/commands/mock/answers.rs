//! [`Answers`]: the file of answers.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nmfw::{Code, Metadata, Status};
use nmfw_schema::prost_reflect::{MethodDescriptor, ServiceDescriptor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::fill::fill;
use crate::{codec, commands::call::template, duration, failure::Failure, suggest::nearest};

/// The cases of all methods, by their full names.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(HashMap<String, Vec<Arc<Case>>>);

/// A case of a method. Without `when`, it matches all calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Case {
    when: Option<Value>,
    answer: Option<Value>,
    answers: Vec<Value>,
    #[serde(deserialize_with = "time")]
    delay: Option<Duration>,
    #[serde(deserialize_with = "time")]
    every: Option<Duration>,
    status: Option<String>,
    message: String,
    metadata: BTreeMap<String, String>,
}

/// One case, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cases {
    Many(Vec<Value>),
    One(Value),
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

/// The requests and metadata of a call, to which answers can refer.
#[derive(Clone, Debug)]
pub(super) struct Call(Value);

impl Call {
    pub(super) fn new(requests: Vec<Value>, metadata: &Metadata) -> Self {
        let metadata = metadata
            .iter()
            .filter_map(|(key, value)| Some((key.to_lowercase(), Value::from(value.as_str()?))));
        let mut call = Map::new();
        call.insert("metadata".to_owned(), Value::Object(metadata.collect()));
        call.insert(
            "request".to_owned(),
            requests.last().cloned().unwrap_or_default(),
        );
        call.insert("requests".to_owned(), Value::Array(requests));
        Self(Value::Object(call))
    }
}

/// A message or the end of a call.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Answer(Value),
    Status(Code, String),
}

impl Step {
    /// Returns the message as JSON and encoded, or the status.
    pub(super) fn encode(
        &self,
        method: &MethodDescriptor,
        call: &Call,
    ) -> Result<(String, Bytes), Status> {
        match self {
            Self::Answer(answer) => {
                let wrong = |why: String| {
                    Status::internal(format!("the answer in the file is not valid: {why}"))
                };
                let json = fill(answer, &call.0).map_err(wrong)?.to_string();
                let encoded = codec::to_message(&method.output(), json.as_bytes());
                Ok((json, encoded.map_err(wrong)?.into()))
            }
            Self::Status(code, message) => {
                let message = fill(&Value::from(message.as_str()), &call.0);
                let message = message.map_err(Status::internal)?;
                let text = message
                    .as_str()
                    .map_or_else(|| message.to_string(), str::to_owned);
                Err(Status::new(*code, text))
            }
        }
    }
}

/// Returns the answer of a method without cases: a value in each field.
pub(super) fn default_steps(method: &MethodDescriptor) -> Vec<Step> {
    let json = template::json(&method.output(), false);
    let answer = json.ok().and_then(|json| serde_json::from_str(&json).ok());
    vec![Step::Answer(
        answer.unwrap_or_else(|| Value::Object(Map::new())),
    )]
}

impl Case {
    /// Returns the messages of the case, and its status.
    pub(super) fn steps(&self) -> Vec<Step> {
        let answers = self.answer.iter().chain(&self.answers).cloned();
        let mut steps: Vec<_> = answers.map(Step::Answer).collect();
        if let Some(code) = self.status.as_deref().and_then(code) {
            steps.push(Step::Status(code, self.message.clone()));
        }
        steps
    }

    /// Returns the pauses before the first message, and before each other.
    pub(super) fn pauses(&self) -> (Option<Duration>, Option<Duration>) {
        (self.delay, self.every)
    }

    pub(super) fn metadata(&self) -> Result<Metadata, Status> {
        let mut metadata = Metadata::new();
        for (key, value) in &self.metadata {
            metadata.append_wire(key, value)?;
        }
        Ok(metadata)
    }

    /// Checks what can be checked before a call.
    fn check(&self, method: &MethodDescriptor) -> Result<(), String> {
        if let Some(name) = &self.status {
            let names = Code::ALL.iter().skip(1).map(|code| code.name());
            code(name).ok_or_else(|| match nearest(name, names) {
                Some(near) => format!("{name:?} is not a status: did you mean {near}?"),
                None => format!("{name:?} is not a status, such as NOT_FOUND"),
            })?;
        }
        self.metadata()
            .map_err(|status| status.message().to_owned())?;
        let steps = self.steps();
        if !method.is_server_streaming() && steps.len() != 1 {
            return Err("a method that returns one message needs an `answer` or a `status`".into());
        }
        for step in &steps {
            if let Step::Answer(answer) = step {
                let known = without_references(answer).to_string();
                codec::to_message(&method.output(), known.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Returns an answer in which references to the request, which are known in a call only, are null or left
/// out of their lists.
fn without_references(answer: &Value) -> Value {
    let is_reference = |value: &Value| value.as_str().is_some_and(|text| text.contains("{{"));
    match answer {
        value if is_reference(value) => Value::Null,
        Value::Array(values) => {
            let values = values.iter().filter(|value| !is_reference(value));
            values.map(without_references).collect()
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(key, value)| (key.clone(), without_references(value)))
                    .collect(),
            )
        }
        value => value.clone(),
    }
}

/// Returns the code with a name; not OK.
fn code(name: &str) -> Option<Code> {
    Code::ALL
        .iter()
        .skip(1)
        .find(|code| code.name() == name)
        .copied()
}

impl Answers {
    /// Reads a file, and checks it against the services.
    pub(super) fn read(path: &Path, services: &[ServiceDescriptor]) -> Result<Self, Failure> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("cannot read {shown}")).caused_by(&error))?;
        // JSON is YAML, too.
        let file: BTreeMap<String, Cases> = serde_saphyr::from_str(&text)
            .map_err(|error| Failure::new(format!("{shown}: {error}")))?;
        let mut answers = HashMap::new();
        for (name, cases) in file {
            let method =
                method(services, &name).map_err(|failure| failure.detail(format!("in {shown}")))?;
            let cases = match cases {
                Cases::Many(cases) => cases,
                Cases::One(case) => vec![case],
            };
            let mut checked = Vec::new();
            for (at, case) in cases.into_iter().enumerate() {
                let case: Result<Case, _> = serde_json::from_value(case);
                let case = case.map_err(|error| error.to_string());
                let case = case.and_then(|case| case.check(&method).map(|()| Arc::new(case)));
                checked.push(case.map_err(|why| {
                    Failure::new(format!("{shown}: case {} of {name}: {why}", at + 1))
                })?);
            }
            answers.insert(method.full_name().to_owned(), checked);
        }
        Ok(Self(answers))
    }

    /// Returns the first case that matches a call; `None` for a method without cases.
    ///
    /// # Errors
    /// Fails if the method has cases, but none matches.
    pub(super) fn find(
        &self,
        method: &MethodDescriptor,
        call: &Call,
    ) -> Result<Option<Arc<Case>>, Status> {
        let Some(cases) = self.0.get(method.full_name()) else {
            return Ok(None);
        };
        let request = call.0.get("request").unwrap_or(&Value::Null);
        let is_meant = |case: &&Arc<Case>| {
            case.when
                .as_ref()
                .is_none_or(|expected| matches(expected, request))
        };
        match cases.iter().find(is_meant) {
            Some(case) => Ok(Some(Arc::clone(case))),
            None => Err(Status::unimplemented(
                "no case matches the request: add one without `when`",
            )),
        }
    }
}

fn method(services: &[ServiceDescriptor], name: &str) -> Result<MethodDescriptor, Failure> {
    let methods: Vec<_> = services
        .iter()
        .flat_map(ServiceDescriptor::methods)
        .collect();
    let dotted = name.replace('/', ".");
    let mut meant = methods
        .iter()
        .filter(|method| method.name() == name || method.full_name() == dotted);
    match (meant.next(), meant.next()) {
        (Some(method), None) => Ok(method.clone()),
        (Some(_), Some(_)) => Err(
            Failure::new(format!("several services have a method {name:?}"))
                .hint("name it with its service: calc.Calc/Add"),
        ),
        (None, _) => {
            let failure = Failure::new(format!("there is no method {name:?}"));
            Err(
                match nearest(name, methods.iter().map(MethodDescriptor::name)) {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure,
                },
            )
        }
    }
}

/// Returns whether a value has all that is expected. 64-bit integers are text in JSON, and equal
/// numbers.
fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| matches(value, found))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| matches(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Number(a), Value::String(b)) | (Value::String(b), Value::Number(a)) => {
            a.to_string() == *b
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_of_a_request_matches() {
        let request = json!({"a": 1.0, "b": {"c": "7", "d": [1, 2]}, "e": ""});
        for expected in [
            json!({}),
            json!({"a": 1}),
            json!({"b": {"c": 7}}),
            json!({"b": {"d": [1, 2]}, "e": ""}),
        ] {
            assert!(matches(&expected, &request), "{expected}");
        }
        for expected in [
            json!({"a": 2}),
            json!({"x": 1}),
            json!({"b": {"d": [1]}}),
            json!({"b": {"c": 8}}),
            json!(1),
        ] {
            assert!(!matches(&expected, &request), "{expected}");
        }
    }
}
