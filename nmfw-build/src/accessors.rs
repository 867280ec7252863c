//! Renames fields and variants whose names would be defined twice in Rust.
//!
//! For fields that are optional or hold an enum, prost-derive generates methods: `state` and
//! `set_state` for an enum `state`. A message that also has a field `set_state` would get two
//! methods of that name, which does not compile. Such a field gets a trailing underscore,
//! `set_state_`, and so do fields that differ only in case.

use std::collections::BTreeSet;

use quote::format_ident;
use syn::ext::IdentExt;
use syn::{Field, Fields, Ident, Item, ItemEnum, ItemStruct};

use crate::attributes;

/// Makes the names of each message's fields, and of each oneof's variants, unique.
pub(crate) fn separate(items: &mut [Item]) {
    for item in items {
        match item {
            Item::Struct(message) => fields(message),
            Item::Enum(oneof) => variants(oneof),
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    separate(items);
                }
            }
            _ => {}
        }
    }
}

/// The methods that prost-derive generates for a field, relative to the field's name.
struct Accessors {
    /// Whether a method has the field's own name.
    getter: bool,
    /// The prefixes that the other methods add to the field's name.
    prefixes: &'static [&'static str],
    /// Whether `r#` is removed before a prefix is added; `get_r#type` is not a name, and
    /// prost-derive panics.
    strips_raw: bool,
}

impl Accessors {
    fn of(field: &Field) -> Self {
        let kind = attributes::kind(field);
        let kind = kind.as_ref().map(|(name, value)| (name.as_str(), value));
        let (getter, prefixes, strips_raw): (_, &[_], _) = match kind {
            Some(("enumeration", _)) if attributes::has(field, "repeated") => {
                (true, &["push_"], true)
            }
            Some(("enumeration", _)) => (true, &["set_"], true),
            Some(("map" | "hash_map" | "btree_map", types)) if types.contains("enumeration(") => {
                (false, &["get_", "insert_"], false)
            }
            _ => {
                let scalar = !["message", "group"]
                    .iter()
                    .any(|kind| attributes::has(field, kind));
                let getter = scalar && attributes::has(field, "optional");
                (getter, &[], true)
            }
        };
        Self {
            getter,
            prefixes,
            strips_raw,
        }
    }
}

fn fields(message: &mut ItemStruct) {
    let Fields::Named(fields) = &mut message.fields else {
        return;
    };
    let mut fields: Vec<(String, &mut Field)> = fields
        .named
        .iter_mut()
        .filter_map(|field| Some((field.ident.as_ref()?.unraw().to_string(), field)))
        .collect();
    let originals: BTreeSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
    // Accessors are longer than the names of their fields, so a field can only conflict with
    // accessors of fields with shorter names, which are settled first.
    fields.sort_by_key(|(name, _)| name.len());
    let mut names = BTreeSet::new();
    let mut methods = BTreeSet::new();
    for (original, field) in fields {
        let accessors = Accessors::of(field);
        let raw = field.ident.as_ref().is_some_and(|ident| *ident != original);
        let mut name = original.clone();
        if raw && !accessors.strips_raw {
            name.push('_');
        }
        while names.contains(&name)
            || (accessors.getter && methods.contains(&name))
            || (name != original && originals.contains(&name))
        {
            name.push('_');
        }
        if name != original {
            field.ident = Some(format_ident!("{name}"));
        }
        for prefix in accessors.prefixes {
            methods.insert(format!("{prefix}{name}"));
        }
        names.insert(name);
    }
}

fn variants(oneof: &mut ItemEnum) {
    let mut names: BTreeSet<Ident> = BTreeSet::new();
    for variant in &mut oneof.variants {
        let mut name = variant.ident.clone();
        while names.contains(&name) {
            name = format_ident!("{name}_");
        }
        variant.ident = name.clone();
        names.insert(name);
    }
}
