//! Keeps the messages of prost-build from setting off lints in the user's crate.
//!
//! What is in a private module of a program counts as unused when nothing uses it, and clippy has opinions about names
//! and sizes that are the `.proto`'s and not the user's. Attributes are added only where a lint would fire.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, ServiceDescriptor};
use syn::{Fields, Item, ItemEnum, Type, parse_quote};

use crate::names;

/// The Rust paths of messages that no generated service reaches: modules of the message, then its name.
pub(crate) fn unreached(
    pool: &DescriptorPool,
    generated: impl Fn(&ServiceDescriptor) -> bool,
) -> BTreeSet<Vec<String>> {
    let mut reached = BTreeSet::new();
    let mut todo: Vec<MessageDescriptor> = pool
        .services()
        .filter(generated)
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .flat_map(|method| [method.input(), method.output()])
        .collect();
    while let Some(message) = todo.pop() {
        if !reached.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            if let Kind::Message(kind) = field.kind() {
                todo.push(kind);
            }
        }
    }
    pool.all_messages()
        .filter(|message| !reached.contains(message.full_name()))
        .map(|message| rust_path(&message))
        .collect()
}

fn rust_path(message: &MessageDescriptor) -> Vec<String> {
    let mut path = vec![names::type_name(message.name())];
    let mut parent = message.parent_message();
    while let Some(message) = parent {
        path.insert(0, names::module(message.name()));
        parent = message.parent_message();
    }
    let package = message
        .package_name()
        .split('.')
        .filter(|part| !part.is_empty());
    path.splice(0..0, package.map(names::module));
    path
}

/// Adds attributes to the code of a package.
pub(crate) fn allow(
    items: &mut [Item],
    modules: &mut Vec<String>,
    unreached: &BTreeSet<Vec<String>>,
) {
    for item in items {
        match item {
            Item::Struct(message) => {
                modules.push(message.ident.to_string());
                if unreached.contains(modules) {
                    message.attrs.push(parse_quote!(#[allow(dead_code)]));
                }
                modules.pop();
            }
            Item::Enum(item) => allow_enum(item),
            Item::Mod(module) => {
                let name = module.ident.to_string();
                if modules.last() == Some(&name) {
                    module
                        .attrs
                        .push(parse_quote!(#[allow(clippy::module_inception)]));
                }
                if let Some((_, items)) = &mut module.content {
                    modules.push(name);
                    allow(items, modules, unreached);
                    modules.pop();
                }
            }
            _ => {}
        }
    }
}

fn allow_enum(item: &mut ItemEnum) {
    if item.variants.len() > 1
        && item
            .variants
            .iter()
            .any(|variant| holds_message(&variant.fields))
    {
        item.attrs
            .push(parse_quote!(#[allow(clippy::large_enum_variant)]));
    }
    let name = item.ident.to_string();
    let variants: Vec<String> = item
        .variants
        .iter()
        .map(|variant| variant.ident.to_string())
        .collect();
    if variants.len() > 2 && repeats(&name, &variants) {
        item.attrs
            .push(parse_quote!(#[allow(clippy::enum_variant_names)]));
    }
}

/// Whether a variant of a oneof may be large: a message that is in no box.
fn holds_message(fields: &Fields) -> bool {
    fields.iter().any(|field| match &field.ty {
        // Strings, vectors and boxes are `…::prost::alloc::…`; numbers have one segment in lower case.
        Type::Path(path) => {
            let segments: Vec<String> = path
                .path
                .segments
                .iter()
                .map(|part| part.ident.to_string())
                .collect();
            let small = segments
                .iter()
                .any(|part| part == "alloc" || part == "bytes")
                || segments
                    .last()
                    .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
            !small
        }
        _ => false,
    })
}

/// Whether all variants begin or end with the same word, or one with the name of the enum.
fn repeats(name: &str, variants: &[String]) -> bool {
    let words: Vec<Vec<&str>> = variants
        .iter()
        .map(|variant| split_words(variant))
        .collect();
    let same = |pick: fn(&[&str]) -> Option<String>| {
        let first = words.first().and_then(|words| pick(words));
        first.is_some() && words.iter().all(|words| pick(words) == first)
    };
    same(|words| words.first().map(ToString::to_string))
        || same(|words| words.last().map(ToString::to_string))
        || variants
            .iter()
            .any(|variant| variant.starts_with(name) || variant.ends_with(name))
}

fn split_words(name: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = name
        .char_indices()
        .filter(|(_, c)| c.is_uppercase())
        .map(|(at, _)| at)
        .collect();
    starts.push(name.len());
    starts
        .windows(2)
        .map(|pair| &name[pair[0]..pair[1]])
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn variants_that_repeat_a_word_are_found() {
        let repeats = |name: &str, variants: &[&str]| {
            let variants: Vec<String> = variants.iter().map(ToString::to_string).collect();
            super::repeats(name, &variants)
        };
        assert!(repeats("Color", &["RedTone", "BlueTone", "GreenTone"]));
        assert!(repeats("Color", &["IsRed", "IsBlue", "IsGreen"]));
        assert!(repeats("Color", &["Red", "ColorBlue", "Green"]));
        assert!(!repeats("Color", &["Red", "Blue", "Green"]));
    }
}
