//! Imports: whether they are sound, and what they make visible.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::SchemaError;
use crate::schema::check::{MAX_NAME, error, index_of, short};
use crate::schema::raw::File;

/// Checks that imports lead to files of the set, and not in a circle.
///
/// # Errors
/// Fails at the first fault that is found.
pub(crate) fn check(files: &[File]) -> Result<(), SchemaError> {
    let mut names = BTreeMap::new();
    for (file, index) in files.iter().zip(0_usize..) {
        let name = file.name();
        if name.is_empty() {
            return Err(error("a file has no name"));
        }
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(error(format!(
                "a file is named {:?}",
                short(&name.escape_debug().to_string())
            )));
        }
        if names.insert(name, index).is_some() {
            return Err(error(format!("two files are named `{name}`")));
        }
    }
    // The number of imports that are not resolved yet, and the importing files.
    let mut left = vec![0_usize; files.len()];
    let mut importers = vec![Vec::new(); files.len()];
    for (index, file) in files.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for import in &file.dependency {
            let name = file.name();
            let Some(imported) = names.get(import.as_str()) else {
                return Err(error(format!(
                    "`{name}` imports `{}`, which is not in the set: create the set with \
                     `protoc --include_imports`",
                    short(import)
                )));
            };
            if !seen.insert(import) {
                return Err(error(format!("`{name}` imports `{import}` twice")));
            }
            left[index] += 1;
            importers[*imported].push(index);
        }
    }
    let mut ready: Vec<usize> = (0..files.len()).filter(|file| left[*file] == 0).collect();
    while let Some(file) = ready.pop() {
        for importer in &importers[file] {
            left[*importer] -= 1;
            if left[*importer] == 0 {
                ready.push(*importer);
            }
        }
    }
    match left.iter().position(|left| *left > 0) {
        Some(file) => Err(error(format!(
            "`{}` imports itself, directly or through other files",
            files[file].name()
        ))),
        None => Ok(()),
    }
}

/// Returns files by their names.
pub(crate) fn by_name(files: &[File]) -> HashMap<&str, &File> {
    files.iter().map(|file| (file.name(), file)).collect()
}

/// Returns files and all that they import publicly, directly or through others, by name.
pub(crate) fn with_public<'a>(
    names: impl Iterator<Item = &'a str>,
    by_name: &HashMap<&str, &'a File>,
) -> BTreeSet<&'a str> {
    let mut seen: BTreeSet<&str> = names.collect();
    let mut left: Vec<&str> = seen.iter().copied().collect();
    while let Some(name) = left.pop() {
        let Some(file) = by_name.get(name) else {
            continue;
        };
        for index in &file.public_dependency {
            if let Some(index) = index_of(*index, file.dependency.len())
                && seen.insert(&file.dependency[index])
            {
                left.push(&file.dependency[index]);
            }
        }
    }
    seen
}
