//! Prints messages and enums.

use super::field::Place;
use super::file::{Item, Printer, Syntax, group_names, number, sort};
use super::literal;
use super::options;
use crate::schema::raw::{Enum, Field, MAX_FIELD, Msg, Range};
use crate::schema::{index_of, join};

// Numbers of fields in `DescriptorProto`.
const FIELD: i32 = 2;
const NESTED: i32 = 3;
const ENUM: i32 = 4;
const EXTENSION_RANGE: i32 = 5;
const EXTENSION: i32 = 6;
const OPTIONS: i32 = 7;
const ONEOF: i32 = 8;
const RESERVED_RANGE: i32 = 9;
const RESERVED_NAME: i32 = 10;

/// An item of a message.
enum Member {
    Field(usize),
    Oneof(usize),
    ExtensionRange(usize),
    ReservedRanges,
    ReservedNames,
    Nested(Item),
}

/// Prints a message. `scope` is the full name of the message or package around it.
pub(super) fn print(printer: &mut Printer<'_>, message: &Msg, path: &[i32], scope: &str) {
    printer.leading(path);
    let visibility = visibility(message.visibility);
    printer
        .out
        .open(&format!("{visibility}message {} {{", message.name()));
    print_body(printer, message, path, &join(scope, message.name()));
}

fn visibility(visibility: Option<i32>) -> &'static str {
    match visibility {
        Some(1) => "local ",
        Some(2) => "export ",
        _ => "",
    }
}

/// Prints the inside of a message, whose block is open.
pub(super) fn print_body(printer: &mut Printer<'_>, message: &Msg, path: &[i32], full_name: &str) {
    printer.inner(path);
    let settings = printer.settings(message.options.as_deref(), "MessageOptions", full_name);
    printer.statements(&settings, &[path, &[OPTIONS]].concat());
    if !settings.is_empty() {
        printer.out.gap();
    }
    let mut members = members(message, path);
    // Reserved numbers and names have positions as statements.
    sort(&mut members, &printer.comments);
    let nested_path = [path, &[NESTED]].concat();
    let siblings = (message.nested_type.as_slice(), nested_path.as_slice());
    let mut members = members.into_iter().peekable();
    while let Some((path, member)) = members.next() {
        match member {
            Member::Field(index) => {
                let field = &message.field[index];
                printer.field(field, &path, siblings, full_name, Place::Message);
            }
            Member::Oneof(index) => oneof(printer, message, index, &path, siblings, full_name),
            Member::ExtensionRange(index) => {
                let range = &message.extension_range[index];
                let range_text =
                    range_text(range.start(), range.end().saturating_sub(1), MAX_FIELD);
                let settings =
                    printer.settings(range.options.as_deref(), "ExtensionRangeOptions", full_name);
                printer.leading(&path);
                let declaration = format!("extensions {range_text}");
                options::bracketed(&declaration, &settings, ";", &mut printer.out);
                printer.trailing(&path);
            }
            Member::ReservedRanges => {
                let ranges: Vec<String> = message
                    .reserved_range
                    .iter()
                    .map(|it| range_text(it.start(), it.end().saturating_sub(1), MAX_FIELD))
                    .collect();
                let line = format!("reserved {};", ranges.join(", "));
                printer.statement(&path, &line);
            }
            Member::ReservedNames => {
                let line = reserved_names(&message.reserved_name, printer.syntax);
                printer.statement(&path, &line);
            }
            Member::Nested(Item::Extension(index)) => {
                let extendee = message.extension[index].extendee();
                let mut block = vec![(path, index)];
                while let Some((path, Member::Nested(Item::Extension(index)))) =
                    members.next_if(|(_, member)| {
                        matches!(member, Member::Nested(Item::Extension(index))
                            if message.extension[*index].extendee() == extendee)
                    })
                {
                    block.push((path, index));
                }
                printer.out.gap();
                printer.extend(extendee, &block, &message.extension, siblings, full_name);
                printer.out.gap();
            }
            Member::Nested(Item::Message(index)) => {
                printer.out.gap();
                print(printer, &message.nested_type[index], &path, full_name);
                printer.out.gap();
            }
            Member::Nested(Item::Enum(index)) => {
                printer.out.gap();
                print_enum(printer, &message.enum_type[index], &path, full_name);
                printer.out.gap();
            }
            Member::Nested(Item::Service(_)) => {}
        }
    }
    printer.out.close("}");
}

/// Returns all members with their paths.
fn members(message: &Msg, path: &[i32]) -> Vec<(Vec<i32>, Member)> {
    let mut members = Vec::new();
    let mut add = |number: i32, index: Option<usize>, member: Member| {
        let mut path = path.to_vec();
        path.push(number);
        path.extend(index.map(self::number));
        members.push((path, member));
    };
    let mut seen_oneofs = vec![false; message.oneof_decl.len()];
    for (index, field) in message.field.iter().enumerate() {
        match oneof_of(field, message) {
            Some(oneof) if !seen_oneofs[oneof] => {
                seen_oneofs[oneof] = true;
                add(ONEOF, Some(oneof), Member::Oneof(oneof));
            }
            Some(_) => {}
            None => add(FIELD, Some(index), Member::Field(index)),
        }
    }
    for index in 0..message.extension_range.len() {
        add(EXTENSION_RANGE, Some(index), Member::ExtensionRange(index));
    }
    if !message.reserved_range.is_empty() {
        add(RESERVED_RANGE, None, Member::ReservedRanges);
    }
    if !message.reserved_name.is_empty() {
        add(RESERVED_NAME, None, Member::ReservedNames);
    }
    let mut groups = group_names(&message.field);
    groups.extend(group_names(&message.extension));
    for (index, nested) in message.nested_type.iter().enumerate() {
        if !nested.is_map_entry() && !groups.contains(&nested.name()) {
            add(NESTED, Some(index), Member::Nested(Item::Message(index)));
        }
    }
    for index in 0..message.enum_type.len() {
        add(ENUM, Some(index), Member::Nested(Item::Enum(index)));
    }
    for index in 0..message.extension.len() {
        add(
            EXTENSION,
            Some(index),
            Member::Nested(Item::Extension(index)),
        );
    }
    members
}

/// Returns the oneof of a field, unless it stands for the label `optional`.
fn oneof_of(field: &Field, message: &Msg) -> Option<usize> {
    if field.proto3_optional() {
        return None;
    }
    index_of(field.oneof_index?, message.oneof_decl.len())
}

fn oneof(
    printer: &mut Printer<'_>,
    message: &Msg,
    oneof: usize,
    path: &[i32],
    siblings: super::field::Siblings<'_>,
    full_name: &str,
) {
    let decl = &message.oneof_decl[oneof];
    if printer.comments.has_leading(path) {
        printer.out.gap();
    }
    printer.leading(path);
    printer.out.open(&format!("oneof {} {{", decl.name()));
    printer.inner(path);
    let scope = join(full_name, decl.name());
    let settings = printer.settings(decl.options.as_deref(), "OneofOptions", &scope);
    // Path of the options of a oneof, field 2.
    printer.statements(&settings, &[path, &[2]].concat());
    let message_path = &path[..path.len().saturating_sub(2)];
    for (index, field) in message.field.iter().enumerate() {
        if oneof_of(field, message) == Some(oneof) {
            let path = [message_path, &[FIELD, number(index)]].concat();
            printer.field(field, &path, siblings, full_name, Place::Oneof);
        }
    }
    printer.out.close("}");
}

/// Returns a range with an inclusive end. Ends from `max` on are `max`.
fn range_text(start: i32, end: i32, max: i32) -> String {
    if end >= max {
        format!("{start} to max")
    } else if start == end {
        start.to_string()
    } else {
        format!("{start} to {end}")
    }
}

fn reserved_names(names: &[String], syntax: Syntax) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| match syntax {
            Syntax::Edition => name.escape_default().to_string(),
            _ => literal::string(name.as_bytes()),
        })
        .collect();
    format!("reserved {};", names.join(", "))
}

// Numbers of fields in `EnumDescriptorProto`.
const VALUE: i32 = 2;
const ENUM_OPTIONS: i32 = 3;
const ENUM_RESERVED_RANGE: i32 = 4;
const ENUM_RESERVED_NAME: i32 = 5;

/// Prints an enum. `scope` is the full name of the message or package around it.
pub(super) fn print_enum(printer: &mut Printer<'_>, each: &Enum, path: &[i32], scope: &str) {
    let full_name = join(scope, each.name());
    printer.leading(path);
    let visibility = visibility(each.visibility);
    printer
        .out
        .open(&format!("{visibility}enum {} {{", each.name()));
    printer.inner(path);
    let settings = printer.settings(each.options.as_deref(), "EnumOptions", &full_name);
    printer.statements(&settings, &[path, &[ENUM_OPTIONS]].concat());
    if !settings.is_empty() {
        printer.out.gap();
    }
    for (index, value) in each.value.iter().enumerate() {
        let path = [path, &[VALUE, number(index)]].concat();
        let settings = printer.settings(value.options.as_deref(), "EnumValueOptions", scope);
        if printer.comments.has_leading(&path) {
            printer.out.gap();
        }
        printer.leading(&path);
        let declaration = format!("{} = {}", value.name(), value.number());
        options::bracketed(&declaration, &settings, ";", &mut printer.out);
        printer.trailing(&path);
    }
    if !each.reserved_range.is_empty() {
        let range = |it: &Range| range_text(it.start(), it.end(), i32::MAX);
        let ranges: Vec<String> = each.reserved_range.iter().map(range).collect();
        let line = format!("reserved {};", ranges.join(", "));
        printer.statement(&[path, &[ENUM_RESERVED_RANGE]].concat(), &line);
    }
    if !each.reserved_name.is_empty() {
        let line = reserved_names(&each.reserved_name, printer.syntax);
        printer.statement(&[path, &[ENUM_RESERVED_NAME]].concat(), &line);
    }
    printer.out.close("}");
}
