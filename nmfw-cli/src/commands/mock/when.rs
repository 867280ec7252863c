//! [`When`]: the requests that an answer is for.

use nmfw_schema::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Proto,
};

use super::{
    document::{Node, Place, Value},
    fields::{json, place_of},
};
use crate::{codec, failure::Failure};

/// The fields of a request that must have certain values. Other fields can have any.
#[derive(Clone, Debug)]
pub(super) struct When {
    expected: DynamicMessage,
    fields: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    field: FieldDescriptor,
    /// The fields of a message; `None` for values that are compared as a whole.
    within: Option<Vec<Condition>>,
}

impl When {
    pub(super) fn read(
        place: &Place<'_>,
        node: &Node,
        request: &MessageDescriptor,
    ) -> Result<Self, Failure> {
        let document = json(node).to_string();
        let encoded = codec::to_message(request, document.as_bytes())
            .map_err(|why| place_of(place, node, &why))?;
        let expected = DynamicMessage::decode(request.clone(), &encoded[..])
            .map_err(|error| place.wrong(error))?;
        let Value::Map(entries) = &node.value else {
            return Err(place.wrong(format!(
                "expected a map of fields, not {}",
                node.value.kind()
            )));
        };
        Ok(Self {
            expected,
            fields: conditions(entries, request),
        })
    }

    /// Returns whether a request has all the values.
    pub(super) fn matches(&self, request: &DynamicMessage) -> bool {
        all_match(&self.fields, &self.expected, request)
    }
}

fn conditions(entries: &[(String, Node)], message: &MessageDescriptor) -> Vec<Condition> {
    let field = |name: &str| {
        let by_json = message.get_field_by_json_name(name);
        by_json.or_else(|| message.get_field_by_name(name))
    };
    let conditions = entries.iter().filter_map(|(name, node)| {
        let field = field(name)?;
        let within = match (field.kind(), &node.value) {
            // Types with a JSON form of their own are compared as a whole.
            (Kind::Message(message), Value::Map(entries))
                if !field.is_list()
                    && !field.is_map()
                    && !message.full_name().starts_with("google.protobuf.") =>
            {
                Some(conditions(entries, &message))
            }
            _ => None,
        };
        Some(Condition { field, within })
    });
    conditions.collect()
}

fn all_match(
    conditions: &[Condition],
    expected: &DynamicMessage,
    request: &DynamicMessage,
) -> bool {
    conditions.iter().all(|Condition { field, within }| {
        if field.supports_presence() && expected.has_field(field) != request.has_field(field) {
            return false;
        }
        let (expected, request) = (expected.get_field(field), request.get_field(field));
        match (within, &*expected, &*request) {
            (Some(within), Proto::Message(expected), Proto::Message(request)) => {
                all_match(within, expected, request)
            }
            (_, expected, request) => expected == request,
        }
    })
}
