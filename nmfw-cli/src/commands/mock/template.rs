//! [`Template`]: a JSON value with parts that are computed for each call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nmfw_schema::prost_reflect::{Kind, MessageDescriptor};
use rand::{Rng, RngExt};
use serde_json::{Map, Number, Value as Json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::document::{Node, Place, Value};
use crate::{failure::Failure, suggest::nearest};

/// The functions of templates, for errors.
const FUNCTIONS: &str =
    "request.FIELD, count, index, counter [NAME], random MIN MAX, random_float MIN MAX, uuid, now";

/// A value with templates in its texts.
#[derive(Clone, Debug)]
pub(super) enum Template {
    /// A value without templates.
    Plain(Json),
    /// A text that is one template takes the type of its value.
    Whole(Function),
    Text(Vec<Part>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    Function(Function),
}

/// The replacement of a template.
#[derive(Clone, Debug)]
pub(super) enum Function {
    /// A field of the request, by JSON names and indices.
    Request(Vec<String>),
    /// The number of requests of the call so far.
    Count,
    /// The position in a stream of answers, from 0.
    Index,
    Counter(Arc<AtomicU64>),
    Random(i64, i64),
    RandomFloat(f64, f64),
    Uuid,
    Now,
}

/// The values that the templates of an answer can refer to.
pub(super) struct Call<'a> {
    pub(super) request: &'a Json,
    pub(super) count: u64,
    pub(super) index: u64,
    pub(super) random: &'a mut dyn Rng,
}

/// The counters of a file, by their names.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<String, Arc<AtomicU64>>);

impl Counters {
    fn get(&mut self, name: &str) -> Arc<AtomicU64> {
        Arc::clone(self.0.entry(name.to_owned()).or_default())
    }
}

/// Reads templates for the answers of a method.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The name of the counter of templates that name none.
    pub(super) method: &'a str,
    pub(super) request: &'a MessageDescriptor,
    pub(super) counters: &'a mut Counters,
}

impl Reader<'_> {
    /// Reads a value and the templates in it.
    pub(super) fn value(&mut self, place: &Place<'_>, node: &Node) -> Result<Template, Failure> {
        Ok(match &node.value {
            Value::Null => Template::Plain(Json::Null),
            Value::Bool(value) => Template::Plain(Json::Bool(*value)),
            Value::Number(value) => Template::Plain(Json::Number(value.clone())),
            Value::Text(text) => self.text(place, text)?,
            Value::List(items) => {
                let mut read = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    read.push(self.value(&place.item(index, item), item)?);
                }
                match read.iter().all(Template::is_plain) {
                    true => Template::Plain(read.into_iter().map(Template::into_plain).collect()),
                    false => Template::List(read),
                }
            }
            Value::Map(entries) => {
                let mut read = Vec::new();
                for (key, value) in entries {
                    let value = self.value(&place.key(key, value), value)?;
                    read.push((key.clone(), value));
                }
                match read.iter().all(|(_, value)| value.is_plain()) {
                    true => {
                        let entries = read.into_iter();
                        let entries = entries.map(|(key, value)| (key, value.into_plain()));
                        Template::Plain(Json::Object(entries.collect()))
                    }
                    false => Template::Map(read),
                }
            }
        })
    }

    /// Reads a text: `{{..}}` is a template, and `\{{` is `{{`.
    pub(super) fn text(&mut self, place: &Place<'_>, text: &str) -> Result<Template, Failure> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if let Some(before) = before.strip_suffix('\\') {
                plain.push_str(before);
                plain.push_str("{{");
                rest = after;
                continue;
            }
            let (inside, after) = after.split_once("}}").ok_or_else(|| {
                place
                    .wrong("a template has no end")
                    .hint("end it with }}, or write \\{{ for the braces themselves")
            })?;
            plain.push_str(before);
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Function(self.function(place, inside.trim())?));
            rest = after;
        }
        plain.push_str(rest);
        if parts.is_empty() {
            return Ok(Template::Plain(Json::String(plain)));
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(match &parts[..] {
            [Part::Function(function)] => Template::Whole(function.clone()),
            _ => Template::Text(parts),
        })
    }

    fn function(&mut self, place: &Place<'_>, text: &str) -> Result<Function, Failure> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.collect();
        let unfit = |usage: &str| place.wrong(format!("write {{{{{usage}}}}}, not {{{{{text}}}}}"));
        Ok(match (name, &arguments[..]) {
            ("request", []) => Function::Request(Vec::new()),
            ("count", []) => Function::Count,
            ("index", []) => Function::Index,
            ("uuid", []) => Function::Uuid,
            ("now", []) => Function::Now,
            ("counter", []) => Function::Counter(self.counters.get(self.method)),
            ("counter", [name]) => Function::Counter(self.counters.get(name)),
            ("random", arguments) => match numbers::<i64>(arguments) {
                Some((min, max)) if min <= max => Function::Random(min, max),
                _ => return Err(unfit("random 1 6")),
            },
            ("random_float", arguments) => match numbers::<f64>(arguments) {
                Some((min, max)) if min < max && (max - min).is_finite() => {
                    Function::RandomFloat(min, max)
                }
                _ => return Err(unfit("random_float 0.5 1.5")),
            },
            (name, []) if name.starts_with("request.") => {
                let path = name.trim_start_matches("request.");
                Function::Request(field_path(self.request, path).map_err(|why| place.wrong(why))?)
            }
            _ => {
                return Err(place
                    .wrong(format!("{{{{{text}}}}} is no template"))
                    .hint(format!("there are: {FUNCTIONS}")));
            }
        })
    }
}

fn numbers<T: std::str::FromStr>(arguments: &[&str]) -> Option<(T, T)> {
    match arguments {
        [min, max] => Some((min.parse().ok()?, max.parse().ok()?)),
        _ => None,
    }
}

/// Returns the path of a field in the JSON form of a message, whose names can be spelled as in the
/// `.proto`.
fn field_path(message: &MessageDescriptor, path: &str) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    // `None` where the schema says nothing about the keys.
    let mut message = Some(message.clone());
    let mut is_within = false;
    for step in path.split('.') {
        // An index of a list, or a key of a map.
        if is_within {
            is_within = false;
            keys.push(step.to_owned());
            continue;
        }
        let Some(known) = message.take() else {
            keys.push(step.to_owned());
            continue;
        };
        if known.full_name().starts_with("google.protobuf.") {
            keys.push(step.to_owned());
            continue;
        }
        let field = known
            .get_field_by_json_name(step)
            .or_else(|| known.get_field_by_name(step));
        let Some(field) = field else {
            let names: Vec<_> = known.fields().map(|f| f.json_name().to_owned()).collect();
            let suggestion = match nearest(step, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("it has: {}", names.join(", ")),
            };
            return Err(format!(
                "{} has no field {step:?}; {suggestion}",
                known.full_name()
            ));
        };
        keys.push(field.json_name().to_owned());
        is_within = field.is_list() || field.is_map();
        message = match field.kind() {
            Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
                Kind::Message(message) => Some(message),
                _ => None,
            },
            Kind::Message(message) => Some(message),
            _ => None,
        };
    }
    Ok(keys)
}

impl Template {
    /// Returns whether there are no templates in it.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn into_plain(self) -> Json {
        match self {
            Self::Plain(value) => value,
            _ => Json::Null,
        }
    }

    /// Returns whether the request is needed.
    pub(super) fn uses_request(&self) -> bool {
        let uses = |function: &Function| matches!(function, Function::Request(_));
        match self {
            Self::Plain(_) => false,
            Self::Whole(function) => uses(function),
            Self::Text(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Function(function) if uses(function))),
            Self::List(items) => items.iter().any(Self::uses_request),
            Self::Map(entries) => entries.iter().any(|(_, value)| value.uses_request()),
        }
    }

    /// Replaces the templates.
    pub(super) fn render(&self, call: &mut Call<'_>) -> Json {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Whole(function) => function.value(call),
            Self::Text(_) => Json::String(self.render_text(call)),
            Self::List(items) => items.iter().map(|item| item.render(call)).collect(),
            Self::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.clone(), value.render(call));
                }
                Json::Object(map)
            }
        }
    }

    /// Replaces the templates of a text.
    pub(super) fn render_text(&self, call: &mut Call<'_>) -> String {
        match self {
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Function(function) => text.push_str(&shown(function.value(call))),
                    }
                }
                text
            }
            other => shown(other.render(call)),
        }
    }
}

fn shown(value: Json) -> String {
    match value {
        Json::String(text) => text,
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

impl Function {
    fn value(&self, call: &mut Call<'_>) -> Json {
        match self {
            Self::Request(path) => {
                let mut value = call.request;
                for step in path {
                    let next = match value {
                        Json::Array(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                        other => other.get(step),
                    };
                    let Some(next) = next else {
                        return Json::Null;
                    };
                    value = next;
                }
                value.clone()
            }
            Self::Count => Json::from(call.count),
            Self::Index => Json::from(call.index),
            Self::Counter(counter) => {
                Json::from(counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
            }
            Self::Random(min, max) => Json::from(call.random.random_range(*min..=*max)),
            Self::RandomFloat(min, max) => {
                let number = call.random.random_range(*min..*max);
                Number::from_f64(number).map_or(Json::Null, Json::Number)
            }
            Self::Uuid => Json::String(uuid(call.random)),
            Self::Now => Json::String(now()),
        }
    }
}

/// Turns numbers and booleans of templates into texts where fields are texts.
pub(super) fn fit(value: &mut Json, message: &MessageDescriptor) {
    let Json::Object(entries) = value else {
        return;
    };
    for (key, value) in entries {
        let field = message
            .get_field_by_json_name(key)
            .or_else(|| message.get_field_by_name(key));
        let Some(field) = field else {
            continue;
        };
        match (value, field.kind()) {
            (Json::Object(entries), Kind::Message(entry)) if field.is_map() => {
                let kind = entry.map_entry_value_field().kind();
                entries.values_mut().for_each(|value| fit_one(value, &kind));
            }
            (Json::Array(items), kind) if field.is_list() => {
                items.iter_mut().for_each(|item| fit_one(item, &kind));
            }
            (value, kind) => fit_one(value, &kind),
        }
    }
}

fn fit_one(value: &mut Json, kind: &Kind) {
    match (&mut *value, kind) {
        (Json::Number(_) | Json::Bool(_), Kind::String) => {
            *value = Json::String(value.to_string());
        }
        (_, Kind::Message(message)) => fit(value, message),
        _ => {}
    }
}

/// Returns a random UUID, version 4 of RFC 9562.
fn uuid(random: &mut dyn Rng) -> String {
    let bits: u128 = random.random();
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts = parts.map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

/// Returns the time, as the JSON format writes it.
pub(super) fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(u32::from(now.millisecond()) * 1_000_000);
    now.ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}
