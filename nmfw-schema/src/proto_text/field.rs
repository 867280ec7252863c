//! Prints fields and extensions.

use super::file::{Printer, Syntax, number};
use super::literal;
use super::message;
use super::options::{self, Setting};
use crate::schema::raw::{
    Field, LABEL_REQUIRED, Msg, TYPE_BYTES, TYPE_ENUM, TYPE_GROUP, TYPE_MESSAGE, TYPE_STRING,
};
use crate::schema::{join, json_name};

/// The names of the types of fields, by number.
const TYPES: [&str; 19] = [
    "", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "",
    "", "bytes", "uint32", "", "sfixed32", "sfixed64", "sint32", "sint64",
];

/// Where a field is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Message,
    Oneof,
    Extend,
}

/// The messages beside a field, among them the one that a group declares, and their path.
pub(super) type Siblings<'a> = (&'a [Msg], &'a [i32]);

impl Printer<'_> {
    /// Prints a field. `scope` is the full name of the message or package around it.
    pub(super) fn field(
        &mut self,
        field: &Field,
        path: &[i32],
        siblings: Siblings<'_>,
        scope: &str,
        place: Place,
    ) {
        let group = group(field, siblings);
        // Compilers differ in whether the comment of a group belongs to its field or its message.
        let commented = match &group {
            Some((_, group_path)) if !self.comments.has_leading(path) => group_path,
            _ => path,
        };
        if self.comments.has_leading(commented) {
            self.out.gap();
        }
        self.leading(commented);
        let label = self.label(field, place);
        let settings = self.field_settings(field, scope, place);
        if let Some((group, group_path)) = group {
            let head = format!("{label}group {} = {}", group.name(), field.number());
            options::bracketed(&head, &settings, " {", &mut self.out);
            message::print_body(self, group, &group_path, &join(scope, group.name()));
            return;
        }
        let declaration = match map_entry(field, siblings.0) {
            Some((key, value)) => format!(
                "map<{}, {}> {} = {}",
                self.kind(key, scope),
                self.kind(value, scope),
                field.name(),
                field.number()
            ),
            None => format!(
                "{label}{} {} = {}",
                self.kind(field, scope),
                field.name(),
                field.number()
            ),
        };
        options::bracketed(&declaration, &settings, ";", &mut self.out);
        self.trailing(path);
    }

    /// Prints an `extend` block. Each extension comes with its path and its index in `extensions`.
    pub(super) fn extend(
        &mut self,
        extendee: &str,
        block: &[(Vec<i32>, usize)],
        extensions: &[Field],
        siblings: Siblings<'_>,
        scope: &str,
    ) {
        let name = self.type_name(extendee, scope);
        self.out.open(&format!("extend {name} {{"));
        for (path, index) in block {
            self.field(&extensions[*index], path, siblings, scope, Place::Extend);
        }
        self.out.close("}");
    }

    fn label(&self, field: &Field, place: Place) -> &'static str {
        if field.is_repeated() {
            return "repeated ";
        }
        match self.syntax {
            _ if place == Place::Oneof => "",
            Syntax::Proto2 if field.label() == LABEL_REQUIRED => "required ",
            Syntax::Proto2 => "optional ",
            Syntax::Proto3 if field.proto3_optional() => "optional ",
            Syntax::Proto3 | Syntax::Edition => "",
        }
    }

    fn kind(&self, field: &Field, scope: &str) -> String {
        match field.r#type() {
            TYPE_MESSAGE | TYPE_GROUP | TYPE_ENUM => self.type_name(field.type_name(), scope),
            kind => {
                let name = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind));
                name.copied().unwrap_or_default().to_owned()
            }
        }
    }

    fn field_settings(&self, field: &Field, scope: &str, place: Place) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut add = |name: &str, value: String| {
            settings.push(Setting {
                name: name.to_owned(),
                value: vec![value],
                number: 0,
            });
        };
        if let Some(default) = &field.default_value {
            add("default", default_literal(default, field.r#type()));
        }
        if let Some(json) = &field.json_name
            && place != Place::Extend
            && *json != json_name(field.name())
        {
            add("json_name", literal::string(json.as_bytes()));
        }
        let full_name = join(scope, field.name());
        settings.extend(self.settings(field.options.as_deref(), "FieldOptions", &full_name));
        settings
    }
}

/// Returns a default value as a literal. That of a field of bytes is already escaped.
fn default_literal(default: &str, kind: i32) -> String {
    match kind {
        TYPE_STRING => literal::string(default.as_bytes()),
        TYPE_BYTES => {
            let mut text = String::with_capacity(default.len() + 2);
            let mut is_escape = false;
            for each in default.chars() {
                if each == '"' && !is_escape {
                    text.push('\\');
                }
                is_escape = each == '\\' && !is_escape;
                match each {
                    each if each.is_control() => {
                        text.push_str(&format!("\\{:03o}", u32::from(each)));
                    }
                    each => text.push(each),
                }
            }
            format!("\"{text}\"")
        }
        // A number, `true`, or the name of an enum value.
        _ => default
            .chars()
            .filter(|each| each.is_ascii_alphanumeric() || "+-._".contains(*each))
            .collect(),
    }
}

/// Returns the message that a field declares as a group, and its path.
fn group<'a>(field: &Field, (messages, path): Siblings<'a>) -> Option<(&'a Msg, Vec<i32>)> {
    if !field.is_group() {
        return None;
    }
    let name = field.type_name().rsplit('.').next()?;
    let index = messages.iter().position(|message| message.name() == name)?;
    Some((&messages[index], [path, &[number(index)]].concat()))
}

/// Returns the key and the value of a map.
fn map_entry<'a>(field: &Field, messages: &'a [Msg]) -> Option<(&'a Field, &'a Field)> {
    if !field.is_repeated() || field.r#type() != TYPE_MESSAGE {
        return None;
    }
    let name = field.type_name().rsplit('.').next()?;
    let entry = messages
        .iter()
        .find(|message| message.name() == name && message.is_map_entry())?;
    match entry.field.as_slice() {
        [key, value] => Some((key, value)),
        _ => None,
    }
}
