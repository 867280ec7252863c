//! Reads a field's `#[prost(..)]` attribute as written by prost-build.

use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Field, Lit, Meta, Token};

/// Returns the kind of a field that has a value, such as `btree_map = "string, int32"`.
pub(crate) fn kind(field: &Field) -> Option<(String, String)> {
    let parts = parts(field)?;
    let Meta::NameValue(first) = parts.first()? else {
        return None;
    };
    let Expr::Lit(ExprLit {
        lit: Lit::Str(value),
        ..
    }) = &first.value
    else {
        return None;
    };
    Some((first.path.get_ident()?.to_string(), value.value()))
}

/// Returns whether a word, such as `optional`, is in the attribute.
pub(crate) fn has(field: &Field, word: &str) -> bool {
    parts(field).is_some_and(|parts| {
        parts
            .iter()
            .any(|part| matches!(part, Meta::Path(path) if path.is_ident(word)))
    })
}

fn parts(field: &Field) -> Option<Punctuated<Meta, Token![,]>> {
    let prost = field
        .attrs
        .iter()
        .find(|attr| attr.path().is_ident("prost"))?;
    prost
        .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        .ok()
}
