//! Reads settings of the file of answers, with errors that name their places.

use std::time::Duration;

use nmfw::Metadata;
use serde_json::Value as Json;

use super::document::{Node, Place, Value};
use crate::{duration, failure::Failure, suggest::nearest};

/// Returns the failure for an error of the JSON format, which begins with the path of the value.
pub(super) fn place_of(place: &Place<'_>, node: &Node, why: &str) -> Failure {
    let path = why.split(": ").next().unwrap_or_default();
    let line = line_at(node, path).unwrap_or(node.line);
    let at = Node {
        line,
        value: Value::Null,
    };
    match path.is_empty() || line == node.line {
        true => place.wrong(why),
        false => place
            .key(path, &at)
            .wrong(why.split_once(": ").map_or(why, |(_, why)| why)),
    }
}

/// Returns the line of the value at a path such as `values[3].name`.
fn line_at(node: &Node, path: &str) -> Option<usize> {
    let mut node = node;
    for step in path.split(['.', '[']) {
        node = match &node.value {
            Value::List(items) => {
                let index: usize = step.trim_end_matches(']').parse().ok()?;
                items.get(index)?
            }
            Value::Map(entries) => {
                let step = step.trim_matches(|c| c == '"' || c == ']');
                &entries.iter().find(|(key, _)| key == step)?.1
            }
            _ => return None,
        };
    }
    Some(node.line)
}

/// Returns a value as JSON.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(value) => Json::Number(value.clone()),
        Value::Text(value) => Json::String(value.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.clone(), json(value)));
            Json::Object(entries.collect())
        }
    }
}

pub(super) fn map<'a>(place: &Place<'_>, node: &'a Node) -> Result<&'a [(String, Node)], Failure> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        other => Err(place.wrong(format!("expected a map, not {}", other.kind()))),
    }
}

pub(super) fn positive(place: &Place<'_>, node: &Node) -> Result<u64, Failure> {
    let number = match &node.value {
        Value::Number(number) => number.as_u64().filter(|number| *number > 0),
        _ => None,
    };
    number.ok_or_else(|| place.wrong("expected a whole number from 1"))
}

pub(super) fn delay_of(place: &Place<'_>, node: &Node) -> Result<Duration, Failure> {
    match &node.value {
        Value::Text(text) => duration::parse(text).map_err(|why| place.wrong(why)),
        _ => Err(place.wrong("write a number and a unit, such as 500ms, 2s or 1.5m")),
    }
}

pub(super) fn metadata(place: &Place<'_>, node: &Node) -> Result<Metadata, Failure> {
    let mut metadata = Metadata::new();
    for (key, node) in map(place, node)? {
        let place = place.key(key, node);
        let value = match &node.value {
            Value::Text(value) => value.clone(),
            Value::Number(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            other => return Err(place.wrong(format!("expected a text, not {}", other.kind()))),
        };
        let added = metadata.append_wire(key, &value);
        added.map_err(|error| place.wrong(error))?;
    }
    metadata.check_size().map_err(|error| place.wrong(error))?;
    Ok(metadata)
}

pub(super) fn unknown_key(place: &Place<'_>, key: &str, known: &[&str]) -> Failure {
    let failure = place.wrong("there is no such setting");
    match nearest(key, known.iter().copied()) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
