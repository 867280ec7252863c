//! A page of documentation, and the code in it.

use std::{fmt::Write, fs, path::Path};

/// A page whose code is compiled and run.
pub(crate) struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    /// Reads a page, by its path in the repository.
    pub(crate) fn read(repository: &Path, name: &'static str) -> Self {
        let text = fs::read_to_string(repository.join(name)).unwrap();
        Self { name, text }
    }

    /// Returns the text of the first fenced block after the first line with this end.
    pub(crate) fn block(&self, end: &str) -> &str {
        let (_, rest) = self
            .text
            .split_once(&format!("{end}\n"))
            .unwrap_or_else(|| panic!("{} has no line that ends with {end:?}", self.name));
        let (_, rest) = rest.split_once("```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        rest.split_once("```").unwrap().0
    }

    /// Returns a piece of inline code, which must be present.
    pub(crate) fn inline<'a>(&self, code: &'a str) -> &'a str {
        let there = self.text.contains(&format!("`{code}`"));
        assert!(there, "{} does not contain `{code}`", self.name);
        code
    }

    /// Returns the files after applying the page's diffs: paths and whole texts.
    pub(crate) fn patched(&self) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = Vec::new();
        for diff in self.text.split("```diff\n").skip(1) {
            for line in diff.split_once("```").unwrap().0.lines() {
                if let Some(path) = line.strip_prefix("+++ ") {
                    files.push((path.to_owned(), String::new()));
                } else if !line.starts_with('-') {
                    let (_, text) = files.last_mut().unwrap();
                    let line = line.strip_prefix(['+', ' ']).unwrap_or(line);
                    writeln!(text, "{line}").unwrap();
                }
            }
        }
        files
    }
}
