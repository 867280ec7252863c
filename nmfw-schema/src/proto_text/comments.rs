//! Comments and positions, from `SourceCodeInfo`.

use std::collections::HashMap;

use prost_types::SourceCodeInfo;
use prost_types::source_code_info::Location;

use super::writer::Writer;

/// The comments of a file, by the path of what they belong to.
#[derive(Debug, Default)]
pub(super) struct Comments<'a> {
    by_path: HashMap<&'a [i32], &'a Location>,
}

impl<'a> Comments<'a> {
    pub(super) fn new(info: Option<&'a SourceCodeInfo>) -> Self {
        let mut by_path: HashMap<&[i32], &Location> = HashMap::new();
        for location in info.iter().flat_map(|info| &info.location) {
            // An `extend` block has a location of its own for each of its fields; the first
            // location of a path is the whole.
            by_path.entry(&location.path).or_insert(location);
        }
        Self { by_path }
    }

    /// Returns the line and column at which an element begins.
    pub(super) fn position(&self, path: &[i32]) -> Option<(i32, i32)> {
        let span = &self.by_path.get(path)?.span;
        Some((*span.first()?, *span.get(1)?))
    }

    pub(super) fn has_leading(&self, path: &[i32]) -> bool {
        self.by_path.get(path).is_some_and(|location| {
            location.leading_comments.is_some() || !location.leading_detached_comments.is_empty()
        })
    }

    /// Writes the comments before an element.
    pub(super) fn leading(&self, path: &[i32], out: &mut Writer) {
        let Some(location) = self.by_path.get(path) else {
            return;
        };
        for comment in &location.leading_detached_comments {
            out.gap();
            write(comment, out);
            out.gap();
        }
        if let Some(comment) = &location.leading_comments {
            write(comment, out);
        }
    }

    /// Writes the comment after an element that is on one line.
    pub(super) fn trailing(&self, path: &[i32], out: &mut Writer) {
        let Some(comment) = self.trailing_text(path) else {
            return;
        };
        match lines(comment).as_slice() {
            [line] => out.append(&format!("  {line}")),
            lines => {
                for line in lines {
                    out.line(line);
                }
                // Otherwise, the comment would belong to the next element.
                out.gap();
            }
        }
    }

    /// Writes the comment after the `{` of a block.
    pub(super) fn inner(&self, path: &[i32], out: &mut Writer) {
        if let Some(comment) = self.trailing_text(path) {
            write(comment, out);
            out.gap();
        }
    }

    fn trailing_text(&self, path: &[i32]) -> Option<&'a str> {
        self.by_path.get(path)?.trailing_comments.as_deref()
    }
}

fn write(comment: &str, out: &mut Writer) {
    for line in lines(comment) {
        out.line(&line);
    }
}

/// Returns the lines of a comment, with slashes.
fn lines(comment: &str) -> Vec<String> {
    let text = comment.strip_suffix('\n').unwrap_or(comment);
    text.split('\n')
        .map(|line| {
            let line = line.trim_end();
            // A comment may come from a peer, and the text may go to a terminal.
            let line: String = line
                .chars()
                .map(|each| match each {
                    '\t' => each,
                    each if each.is_control() => char::REPLACEMENT_CHARACTER,
                    each => each,
                })
                .collect();
            let needs_space = !line.is_empty() && !line.starts_with([' ', '\t', '/']);
            format!("//{}{line}", if needs_space { " " } else { "" })
        })
        .collect()
}
