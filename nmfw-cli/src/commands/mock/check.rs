//! Checks answers against the schema before there are requests.

use nmfw_schema::prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

use super::{
    document::{Node, Place},
    fields::place_of,
    template::Template,
};
use crate::{codec, failure::Failure};

/// Checks what is known of a message before there is a request.
pub(super) fn check(
    place: &Place<'_>,
    node: &Node,
    template: &Template,
    message: &MessageDescriptor,
) -> Result<(), Failure> {
    let Some(known) = known(template, Some(message)) else {
        return Ok(());
    };
    match codec::to_message(message, known.to_string().as_bytes()) {
        Ok(_) => Ok(()),
        Err(why) => Err(place_of(place, node, &why)),
    }
}

/// Returns a message without its templates: null stands for any value of a field.
fn known(template: &Template, message: Option<&MessageDescriptor>) -> Option<Json> {
    match template {
        Template::Plain(value) => Some(value.clone()),
        Template::Whole(_) | Template::Text(_) => None,
        Template::List(items) => Some(
            items
                .iter()
                .filter_map(|item| known(item, message))
                .collect(),
        ),
        Template::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let field = message.and_then(|message| {
                    let by_json = message.get_field_by_json_name(key);
                    by_json.or_else(|| message.get_field_by_name(key))
                });
                let within = field.and_then(|field| match field.kind() {
                    // The keys of a map are no fields.
                    Kind::Message(message) if !field.is_map() => Some(message),
                    _ => None,
                });
                match known(value, within.as_ref()) {
                    Some(value) => _ = map.insert(key.clone(), value),
                    // Maps and types with a JSON form of their own have no fields that can be null.
                    None if message.is_some_and(|m| !is_own(m)) => {
                        map.insert(key.clone(), Json::Null);
                    }
                    None => {}
                }
            }
            Some(Json::Object(map))
        }
    }
}

fn is_own(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.")
}
