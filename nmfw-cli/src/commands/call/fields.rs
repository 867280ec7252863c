//! Names of fields that can follow in a request that is being typed.

use std::{iter::Peekable, str::CharIndices};

use nmfw_schema::prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// The most levels that are followed.
const MAX_DEPTH: usize = 64;

/// What a value that is being typed belongs to; `None` where fields have no names.
type Type = Option<MessageDescriptor>;

/// An object or array that is not closed.
enum Open {
    Message {
        message: MessageDescriptor,
        /// The fields that are there.
        used: Vec<String>,
        /// The type of the value of the last key.
        value: Type,
        next: Next,
    },
    /// An array, or an object whose keys are not fields. Its values have this type.
    Values { element: Type, next: Next },
}

/// What an object expects.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Key,
    Value,
}

/// Returns the texts that continue `typed` with the name of a field, if one is expected there.
pub(crate) fn continued(message: &MessageDescriptor, typed: &str) -> Vec<String> {
    let Some((open, begun)) = scan(message, typed) else {
        return Vec::new();
    };
    let Open::Message {
        message,
        used,
        next: Next::Key,
        ..
    } = open
    else {
        return Vec::new();
    };
    // A key that is begun is typed anew.
    let (before, begun) = match begun {
        Some(at) => (&typed[..at], &typed[at + 1..]),
        None => (typed, ""),
    };
    let fields = message.fields();
    let names = fields.map(|field| field.json_name().to_owned());
    names
        .filter(|name| name.starts_with(begun) && !used.contains(name))
        .map(|name| format!("{before}\"{name}\":"))
        .collect()
}

/// Returns the innermost object or array at the end of a text, and the position of the quotation mark
/// of a string that is not closed.
fn scan(message: &MessageDescriptor, typed: &str) -> Option<(Open, Option<usize>)> {
    let mut open: Vec<Open> = Vec::new();
    let mut chars = typed.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '{' | '[' if open.len() >= MAX_DEPTH => return None,
            '{' => {
                let inner = match open.last() {
                    None => with_fields(message.clone()),
                    Some(outer) => outer.value(),
                };
                open.push(Open::object(inner));
            }
            '[' => {
                let element = open.last()?.value();
                open.push(Open::Values {
                    element,
                    next: Next::Value,
                });
            }
            '}' | ']' => {
                open.pop()?;
            }
            ',' => open.last_mut()?.expect(Next::Key),
            ':' => open.last_mut()?.expect(Next::Value),
            '"' => match string(&mut chars, typed, at) {
                Some(text) => open.last_mut()?.key(text),
                None => return Some((open.pop()?, Some(at))),
            },
            _ => {}
        }
    }
    Some((open.pop()?, None))
}

/// Reads a string to its end; `None` if it has none.
fn string<'a>(
    chars: &mut Peekable<CharIndices<'_>>,
    typed: &'a str,
    begin: usize,
) -> Option<&'a str> {
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return typed.get(begin + 1..at),
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    None
}

impl Open {
    fn object(of: Type) -> Self {
        let map_value = |message: &MessageDescriptor| {
            message
                .is_map_entry()
                .then(|| value_of(&message.map_entry_value_field()))
        };
        match of {
            None => Self::Values {
                element: None,
                next: Next::Key,
            },
            Some(message) => match map_value(&message) {
                Some(element) => Self::Values {
                    element,
                    next: Next::Key,
                },
                None => Self::Message {
                    message,
                    used: Vec::new(),
                    value: None,
                    next: Next::Key,
                },
            },
        }
    }

    /// Returns the type of the value that follows.
    fn value(&self) -> Type {
        match self {
            Self::Message { value, .. } => value.clone(),
            Self::Values { element, .. } => element.clone(),
        }
    }

    fn expect(&mut self, what: Next) {
        let (Self::Message { next, .. } | Self::Values { next, .. }) = self;
        *next = what;
    }

    /// Notes a string, which is a key where one is expected.
    fn key(&mut self, text: &str) {
        let Self::Message {
            message,
            used,
            value,
            next: Next::Key,
        } = self
        else {
            return;
        };
        let field = message
            .get_field_by_json_name(text)
            .or_else(|| message.get_field_by_name(text));
        *value = field.as_ref().and_then(value_of);
        used.extend(field.map(|field| field.json_name().to_owned()));
    }
}

/// Returns the message of a field's values; the entry for a map.
fn value_of(field: &FieldDescriptor) -> Type {
    match field.kind() {
        Kind::Message(message) => with_fields(message),
        _ => None,
    }
}

/// Returns a message, unless it is a well-known type, whose JSON has other names.
fn with_fields(message: MessageDescriptor) -> Type {
    (!message.full_name().starts_with("google.protobuf.")).then_some(message)
}

#[cfg(test)]
mod tests {
    use nmfw_schema::Schema;

    const PROTO: &str = r#"
        syntax = "proto3";
        package shop;
        import "google/protobuf/timestamp.proto";
        message Order {
          string customer_id = 1;
          repeated Item items = 2;
          map<string, Item> by_name = 3;
          google.protobuf.Timestamp at = 4;
          Item first = 5;
        }
        message Item { string name = 1; uint32 count = 2; Order of = 3; }
    "#;

    fn continued(typed: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.proto"), PROTO).unwrap();
        let schema = Schema::compile(["shop.proto"], [folder.path()]).unwrap();
        super::continued(&schema.message("shop.Order").unwrap(), typed)
    }

    #[test]
    fn names_follow_where_a_key_is_expected() {
        for (typed, expected) in [
            (
                "{",
                &[
                    "{\"customerId\":",
                    "{\"items\":",
                    "{\"byName\":",
                    "{\"at\":",
                    "{\"first\":",
                ][..],
            ),
            ("{\"c", &["{\"customerId\":"]),
            (
                "{\"first\": {\"",
                &[
                    "{\"first\": {\"name\":",
                    "{\"first\": {\"count\":",
                    "{\"first\": {\"of\":",
                ],
            ),
            (
                "{\"items\":[{\"count\":1},{\"n",
                &["{\"items\":[{\"count\":1},{\"name\":"],
            ),
            (
                "{\"byName\":{\"a\":{\"co",
                &["{\"byName\":{\"a\":{\"count\":"],
            ),
            (
                "{\"by_name\":{\"a\":{\"co",
                &["{\"by_name\":{\"a\":{\"count\":"],
            ),
            (
                "{\"first\":{\"of\":{\"customer",
                &["{\"first\":{\"of\":{\"customerId\":"],
            ),
            // Fields that are there are not offered again, braces in strings do not count.
            (
                "{\"first\":{\"name\":\"}\\\"{\",\"of\":{}, \"",
                &["{\"first\":{\"name\":\"}\\\"{\",\"of\":{}, \"count\":"],
            ),
        ] {
            assert_eq!(continued(typed), expected, "{typed}");
        }
    }

    #[test]
    fn none_follow_elsewhere() {
        for typed in [
            "",
            "[",
            "}",
            "{\"customerId\":",
            "{\"customerId\":\"c",
            "{\"at\":{\"s",
            "{\"byName\":{\"a",
            "{\"zzz\":{\"c",
            "{\"items\":[",
            "{\"customerId\" \"c\" }}}",
            &"{\"first\":{\"of\":".repeat(40),
        ] {
            assert_eq!(continued(typed), Vec::<String>::new(), "{typed}");
        }
    }
}
