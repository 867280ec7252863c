//! Comments, as descriptions.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// The comments of files, by file and path.
#[derive(Debug, Default)]
pub(super) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

impl Comments {
    /// Returns the comment of an element, without the spaces after the slashes.
    pub(super) fn of(&mut self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        if !self.0.contains_key(file.name()) {
            self.0.insert(file.name().to_owned(), comments(file));
        }
        self.0.get(file.name())?.get(path).cloned()
    }
}

fn comments(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut comments = HashMap::new();
    for location in info.iter().flat_map(|info| &info.location) {
        let comment = location
            .leading_comments
            .as_ref()
            .or(location.trailing_comments.as_ref());
        if let Some(comment) = comment {
            let lines = comment
                .lines()
                .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
            let text = lines.collect::<Vec<_>>().join("\n");
            comments
                .entry(location.path.clone())
                .or_insert_with(|| text.trim().to_owned());
        }
    }
    comments
}
