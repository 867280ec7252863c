//! [`Fault`]: errors in the file of answers.

use nmfw::{Code, Metadata};
use nmfw_schema::prost_reflect::MessageDescriptor;
use serde_json::Value as Json;

use super::{
    answers::Context,
    check::check,
    document::{Node, Place, Value},
    fields::{map, metadata, unknown_key},
    template::Template,
};
use crate::{failure::Failure, suggest::nearest};

/// The error of a call.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: Template,
    pub(super) details: Vec<(MessageDescriptor, String, Template)>,
    pub(super) metadata: Metadata,
}

/// Failures of a part of the calls.
#[derive(Debug)]
pub(super) struct Failures {
    pub(super) ratio: f64,
    pub(super) error: Fault,
}

impl Context<'_> {
    pub(super) fn failures(&mut self, place: &Place<'_>, node: &Node) -> Result<Failures, Failure> {
        let mut ratio = None;
        let mut rest = Vec::new();
        for (key, node) in map(place, node)? {
            match (key.as_str(), &node.value) {
                ("ratio", Value::Number(number)) => {
                    ratio = number.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio));
                    if ratio.is_none() {
                        return Err(place.key(key, node).wrong("it must be from 0 to 1"));
                    }
                }
                _ => rest.push((key.clone(), node.clone())),
            }
        }
        let ratio = ratio.ok_or_else(|| {
            place.wrong("set ratio, the part of calls that fail, such as ratio: 0.1")
        })?;
        if !rest.iter().any(|(key, _)| key == "code") {
            let node = Node {
                line: node.line,
                value: Value::Text(Code::Unavailable.name().to_owned()),
            };
            rest.push(("code".to_owned(), node));
        }
        let node = Node {
            line: node.line,
            value: Value::Map(rest),
        };
        let error = self.fault(place, &node)?;
        Ok(Failures { ratio, error })
    }

    pub(super) fn fault(&mut self, place: &Place<'_>, node: &Node) -> Result<Fault, Failure> {
        let mut code = None;
        let mut fault = Fault {
            code: Code::Unknown,
            message: Template::Plain(Json::String("an error of the mock".to_owned())),
            details: Vec::new(),
            metadata: Metadata::new(),
        };
        for (key, node) in map(place, node)? {
            let place = place.key(key, node);
            match (key.as_str(), &node.value) {
                ("code", value) => code = Some(code_of(&place, value)?),
                ("message", Value::Text(text)) => {
                    fault.message = self.reader.text(&place, text)?;
                }
                ("message", other) => {
                    return Err(place.wrong(format!("expected a text, not {}", other.kind())));
                }
                ("details", Value::List(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        let detail = self.detail(&place.item(index, item), item)?;
                        fault.details.push(detail);
                    }
                }
                ("details", other) => {
                    return Err(place.wrong(format!("expected a list, not {}", other.kind())));
                }
                ("metadata", _) => fault.metadata = metadata(&place, node)?,
                (other, _) => {
                    let known = ["code", "message", "details", "metadata"];
                    return Err(unknown_key(&place, other, &known));
                }
            }
        }
        fault.code = code.ok_or_else(|| place.wrong("set code, such as code: NOT_FOUND"))?;
        Ok(fault)
    }

    fn detail(
        &mut self,
        place: &Place<'_>,
        node: &Node,
    ) -> Result<(MessageDescriptor, String, Template), Failure> {
        const EXAMPLE: &str = "\"@type\": type.googleapis.com/google.rpc.ErrorInfo";
        let mut fields = map(place, node)?.to_vec();
        let at = fields.iter().position(|(key, _)| key == "@type");
        let at = at.ok_or_else(|| place.wrong(format!("set the type, such as {EXAMPLE}")))?;
        let (_, type_node) = fields.remove(at);
        let Value::Text(url) = type_node.value else {
            return Err(place.wrong(format!("the type is a text, such as {EXAMPLE}")));
        };
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let message = self.schema.message(&name).ok_or_else(|| {
            place
                .wrong(format!("the schema has no message {name:?}"))
                .hint("import the .proto that defines the detail")
        })?;
        let url = match url.contains('/') {
            true => url,
            false => format!("type.googleapis.com/{url}"),
        };
        // Types with a JSON form of their own have it in `value`.
        let is_whole = name.starts_with("google.protobuf.") && fields.len() == 1;
        let body = match fields.pop_if(|(key, _)| is_whole && key == "value") {
            Some((_, value)) => value,
            None => Node {
                line: node.line,
                value: Value::Map(fields),
            },
        };
        let template = self.reader.value(place, &body)?;
        check(place, &body, &template, &message)?;
        Ok((message, url, template))
    }
}

fn code_of(place: &Place<'_>, value: &Value) -> Result<Code, Failure> {
    let code = match value {
        Value::Text(name) => name.parse::<Code>().ok(),
        Value::Number(number) => number.as_i64().and_then(|number| {
            Code::ALL
                .into_iter()
                .find(|code| i64::from(code.number()) == number)
        }),
        _ => None,
    };
    match code {
        Some(Code::Ok) => Err(place.wrong("OK is no error: use answer in place of error")),
        Some(code) => Ok(code),
        None => {
            let failure = place.wrong("expected a gRPC code, such as NOT_FOUND or 5");
            let names = Code::ALL.map(Code::name);
            Err(match value {
                Value::Text(name) => match nearest(name, names) {
                    Some(name) => failure.hint(format!("did you mean {name}?")),
                    None => failure,
                },
                _ => failure,
            })
        }
    }
}
