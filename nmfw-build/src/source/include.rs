//! The include folders: names and paths of files, and suggestions for a missing one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::fault::Fault;

/// Maximum number of directory entries to read for suggestions, because a folder such as `/` is too
/// large to scan.
const MAX_LISTED: usize = 10_000;
/// Maximum number of suggestions in a report.
const MAX_SUGGESTED: usize = 3;

#[derive(Debug)]
pub(crate) struct Includes<'a>(pub(crate) &'a [PathBuf]);

impl Includes<'_> {
    /// Returns the path of an import, in the first folder that has it.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let files = self.0.iter().map(|folder| folder.join(name));
        files.into_iter().find(|path| path.is_file())
    }

    /// Returns the name under which other files import this one.
    ///
    /// # Errors
    /// Fails if the file is in none of the folders, or if an earlier folder has another file of
    /// this name.
    pub(crate) fn name(&self, path: &Path) -> Result<String, Box<Fault>> {
        if let Some(name) = self.name_below(path) {
            let found = self.find(&name).filter(|found| !is_same(found, path));
            return match found {
                Some(found) if path.is_file() => Err(Fault::new(format!(
                    "`{}` cannot be compiled: an import of `{name}` finds `{}` first",
                    path.display(),
                    found.display()
                ))
                .help("put the include folder of the file before the other one, or rename one of them")),
                _ => Ok(name),
            };
        }
        // A relative path may also be the import name.
        match import_name(path).filter(|name| self.find(name).is_some()) {
            Some(name) => Ok(name),
            None => Err(self.outside(path)),
        }
    }

    /// Returns the rest of the path below the first folder that contains it, by its text or,
    /// failing that, on disk.
    fn name_below(&self, path: &Path) -> Option<String> {
        let plain = clean(path);
        let by_text = self
            .0
            .iter()
            .find_map(|folder| import_name(plain.strip_prefix(clean(folder)).ok()?));
        by_text.or_else(|| {
            let real = path.canonicalize().ok()?;
            self.0.iter().find_map(|folder| {
                import_name(real.strip_prefix(folder.canonicalize().ok()?).ok()?)
            })
        })
    }

    fn outside(&self, path: &Path) -> Box<Fault> {
        if path.is_file() {
            let fault = Fault::new(format!(
                "`{}` is in none of the include folders",
                path.display()
            ));
            return self.list_folders(fault).help(
                "add the folder from which its imports start to the include folders, the second \
                 argument of `compile_protos`",
            );
        }
        let mut fault = Fault::new(format!("there is no file `{}`", path.display()));
        let mut looked_for: Vec<PathBuf> = vec![path.to_owned()];
        if path.is_relative() {
            looked_for.extend(self.0.iter().map(|folder| folder.join(path)));
        }
        fault = fault.note(format!("looked for {}", list(&looked_for)));
        self.suggest(self.list_folders(fault), &path.to_string_lossy())
    }

    /// Adds the paths where a missing file was looked for, and suggestions.
    pub(crate) fn missing(&self, fault: Box<Fault>, name: &str) -> Box<Fault> {
        let looked_for: Vec<PathBuf> = self.0.iter().map(|folder| folder.join(name)).collect();
        let fault = if looked_for.is_empty() {
            fault.note("there are no include folders")
        } else {
            fault.note(format!("looked for {}", list(&looked_for)))
        };
        self.suggest(self.list_folders(fault), name)
    }

    /// Adds the missing include folders.
    fn list_folders(&self, mut fault: Box<Fault>) -> Box<Fault> {
        for folder in self.0.iter().filter(|folder| !folder.is_dir()) {
            let what = if folder.exists() {
                "is not a folder"
            } else {
                "does not exist"
            };
            fault = fault.help(format!("the include folder `{}` {what}", folder.display()));
        }
        fault
    }

    fn suggest(&self, fault: Box<Fault>, name: &str) -> Box<Fault> {
        let near = self.near(name);
        if near.is_empty() {
            return fault;
        }
        fault.help(format!("files with similar names: {}", list(&near)))
    }

    /// Returns files with similar names, best first.
    fn near(&self, name: &str) -> Vec<PathBuf> {
        let wanted = name.rsplit('/').next().unwrap_or(name);
        let limit = 1 + wanted.len() / 5;
        let mut found = BTreeSet::new();
        let mut left = MAX_LISTED;
        for folder in self.0 {
            for path in proto_files(folder, &mut left) {
                let Some(file) = path.file_name().map(|name| name.to_string_lossy()) else {
                    continue;
                };
                let distance = distance(&file, wanted);
                if distance <= limit {
                    found.insert((distance, path.clone()));
                }
            }
        }
        let paths = found.into_iter().map(|(_, path)| path);
        paths.take(MAX_SUGGESTED).collect()
    }
}

/// Lists the `.proto` files below a folder, reading at most `left` entries.
fn proto_files(folder: &Path, left: &mut usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if *left == 0 {
                return files;
            }
            *left -= 1;
            let path = entry.path();
            // Links are not followed, because they may form a cycle.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files
}

/// Returns the number of characters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

pub(super) fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    paths.join(", ")
}

/// Returns the path without `.` components.
fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

fn is_same(left: &Path, right: &Path) -> bool {
    clean(left) == clean(right)
        || left
            .canonicalize()
            .is_ok_and(|left| right.canonicalize().is_ok_and(|right| left == right))
}

/// Returns a path as imports write it: with slashes, and without `..`.
fn import_name(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    parts
        .filter(|parts| !parts.is_empty())
        .map(|parts| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_changes() {
        for (left, right, expected) in [
            ("calc.proto", "calc.proto", 0),
            ("calk.proto", "calc.proto", 1),
            ("cal.proto", "calc.proto", 1),
            ("", "abc", 3),
            ("acb", "abc", 2),
        ] {
            assert_eq!(distance(left, right), expected, "for {left} and {right}");
        }
    }

    #[test]
    fn names_are_written_with_slashes() {
        for (path, expected) in [
            ("a/b.proto", Some("a/b.proto")),
            ("./a/./b.proto", Some("a/b.proto")),
            ("../b.proto", None),
            ("/b.proto", None),
            ("", None),
        ] {
            assert_eq!(
                import_name(Path::new(path)).as_deref(),
                expected,
                "for {path}"
            );
        }
    }
}
