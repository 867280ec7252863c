//! Generates `Debug` for messages with a `BTreeMap`, where prost-derive's code does not compile in
//! a crate without prost.
//!
//! For such a map, prost-derive refers to `::prost::alloc`, whatever path it was given. Its code
//! for all other messages works and is kept. The output is the same as prost's, including the names
//! of enum values.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Field, Item, ItemStruct, Path, PathArguments, Type, parse_quote};

use crate::attributes;

/// Adds an implementation after each message that needs one.
pub(crate) fn complete(items: &mut Vec<Item>) {
    let mut at = 0;
    while let Some(item) = items.get_mut(at) {
        let mut added = None;
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    complete(items);
                }
            }
            // With `skip_debug`, the user provides the implementation.
            Item::Struct(message)
                if message.fields.iter().any(is_btree_map)
                    && !message.attrs.iter().any(skips_debug) =>
            {
                message.attrs.push(parse_quote!(#[prost(skip_debug)]));
                added = Some(implementation(message));
            }
            _ => {}
        }
        at += 1;
        if let Some(item) = added {
            items.insert(at, item);
            at += 1;
        }
    }
}

fn skips_debug(attribute: &Attribute) -> bool {
    attribute.path().is_ident("prost")
        && attribute
            .parse_args::<Path>()
            .is_ok_and(|path| path.is_ident("skip_debug"))
}

fn implementation(message: &ItemStruct) -> Item {
    let name = &message.ident;
    let text = name.to_string();
    let fields = message.fields.iter().filter_map(print);
    parse_quote! {
        #[allow(deprecated)]
        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                let mut builder = f.debug_struct(#text);
                #(#fields)*
                builder.finish()
            }
        }
    }
}

/// Returns the statement that formats a field.
fn print(field: &Field) -> Option<TokenStream> {
    let name = field.ident.as_ref()?;
    let text = name.to_string();
    let Some((path, container)) = enumeration(field).zip(container(&field.ty)) else {
        return Some(quote!(builder.field(#text, &self.#name);));
    };
    let kind = container.segments.last()?.ident.to_string();
    let value = match kind.as_str() {
        "Option" => quote!(self.#name.map(__Value)),
        "Vec" => quote!(self.#name.iter().copied().map(__Value).collect::<#container<_>>()),
        "HashMap" | "BTreeMap" => quote! {
            self.#name.iter().map(|(key, value)| (key, __Value(*value))).collect::<#container<_, _>>()
        },
        _ => quote!(__Value(self.#name)),
    };
    // `__Value` cannot conflict with a message: prost-build removes underscores from names.
    Some(quote! {
        {
            struct __Value(i32);
            impl ::core::fmt::Debug for __Value {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    match <#path as ::core::convert::TryFrom<i32>>::try_from(self.0) {
                        ::core::result::Result::Ok(known) => ::core::fmt::Debug::fmt(&known, f),
                        ::core::result::Result::Err(_) => ::core::fmt::Debug::fmt(&self.0, f),
                    }
                }
            }
            builder.field(#text, &#value);
        }
    })
}

/// Returns the type of a field without its generic arguments.
fn container(ty: &Type) -> Option<Path> {
    let Type::Path(ty) = ty else { return None };
    let mut path = ty.path.clone();
    path.segments.last_mut()?.arguments = PathArguments::None;
    Some(path)
}

fn is_btree_map(field: &Field) -> bool {
    attributes::kind(field).is_some_and(|(name, _)| name == "btree_map")
}

/// Returns the Rust path of the enum that a field holds as a number, if any.
fn enumeration(field: &Field) -> Option<Path> {
    let (name, value) = attributes::kind(field)?;
    let path = match name.as_str() {
        "enumeration" => value.as_str(),
        "map" | "btree_map" => value.split_once("enumeration(")?.1.strip_suffix(')')?,
        _ => return None,
    };
    syn::parse_str(path).ok()
}
