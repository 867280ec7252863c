//! Finds the place of an option in the source.

use prost_types::source_code_info::Location;

use crate::protos::Protos;
use crate::source::tokens::{TokenKind, tokens};

/// An option and the element that it belongs to.
#[derive(Debug)]
pub(crate) struct OptionPath<'a> {
    /// The service or method, as field numbers and indices.
    pub(crate) element: &'a [i32],
    /// The number of the element's options field.
    pub(crate) options: i32,
    /// The full name of the extension.
    pub(crate) extension: &'a str,
}

/// Finds the line and column, from 1, of a field of the option: of its own statement, of its name
/// in braces or, without the source, of the statement with the braces.
pub(crate) fn find(
    protos: &Protos,
    file: &str,
    option: &OptionPath<'_>,
    field: &str,
) -> Option<(i32, i32)> {
    let extension = protos.pool.get_extension_by_name(option.extension)?;
    let kind = extension.kind();
    let number = kind.as_message()?.get_field_by_name(field)?.number();
    let statement = [
        option.element,
        &[option.options, i32::try_from(extension.number()).ok()?],
    ]
    .concat();
    let own = [statement.as_slice(), &[i32::try_from(number).ok()?]].concat();

    let descriptor = protos.pool.get_file_by_name(file)?;
    let info = descriptor
        .file_descriptor_proto()
        .source_code_info
        .as_ref()?;
    let at = |path: &[i32]| {
        info.location
            .iter()
            .find(|location| location.path.starts_with(path))
    };
    if let Some(location) = at(&own) {
        return start(location);
    }
    let location = info
        .location
        .iter()
        .find(|location| location.path == statement)?;
    let source = protos.sources.get(file);
    source
        .and_then(|source| in_braces(source, location, field))
        .or_else(|| start(location))
}

fn start(location: &Location) -> Option<(i32, i32)> {
    let span = &location.span;
    Some((span.first()?.checked_add(1)?, span.get(1)?.checked_add(1)?))
}

/// Finds the place of a field's name in the value of the statement.
fn in_braces(source: &str, statement: &Location, field: &str) -> Option<(i32, i32)> {
    let &[line, column, ..] = statement.span.as_slice() else {
        return None;
    };
    let line = usize::try_from(line).ok()?;
    let skipped: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let text = source.get(skipped + usize::try_from(column).ok()?..)?;
    let begin = source.len() - text.len();
    let mut depth = 0_i32;
    for token in tokens(text) {
        if token.is("{") {
            depth += 1;
        } else if token.is("}") {
            depth -= 1;
        } else if depth == 0 && token.is(";") {
            return None;
        } else if depth == 1 && token.kind == TokenKind::Word && token.text == field {
            let before = &source[..begin + token.start];
            let line = before.matches('\n').count();
            let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
            return Some((
                i32::try_from(line + 1).ok()?,
                i32::try_from(column + 1).ok()?,
            ));
        }
    }
    None
}
