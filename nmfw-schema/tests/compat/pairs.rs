//! Pairs of schemas with buf's recorded answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::golden;
use crate::mutation::{Edit, Mutator, Random, apply};
use crate::schema::{self, Files};
use crate::table::cases;

/// buf's answers for the table: findings by the name of the case.
pub(crate) type TableAnswers = BTreeMap<String, BTreeSet<String>>;

pub(crate) const TABLE_ANSWERS: &str = "golden/buf_table.json";
pub(crate) const MUTATIONS: &str = "golden/buf_mutations.json";

/// A changed file of the corpus, and buf's findings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mutation {
    pub(crate) file: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) buf: BTreeSet<String>,
}

/// A pair of schemas that both compile.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) old: Files,
    pub(crate) new: Files,
}

/// Returns the pairs of the table.
pub(crate) fn of_table() -> Vec<Pair> {
    cases()
        .map(|case| Pair {
            name: case.name.to_owned(),
            old: schema::files(case.old),
            new: schema::files(case.new),
        })
        .collect()
}

/// Returns the recorded pairs of changed files.
pub(crate) fn mutations() -> Vec<Mutation> {
    serde_json::from_str(&golden::read(MUTATIONS)).unwrap()
}

impl Mutation {
    /// Returns the changed file with all that it imports, before and after the change.
    pub(crate) fn pair(&self, tree: &Files) -> Option<Pair> {
        let old = with_imports(tree, &self.file);
        let mut new = old.clone();
        let source = new.get_mut(&self.file)?;
        *source = apply(source, &self.edits)?;
        Some(Pair {
            name: format!("{} {:?}", self.file, self.edits),
            old,
            new,
        })
    }
}

/// Returns the files of the corpus.
pub(crate) fn corpus() -> Files {
    tree(&golden::path("corpus"))
}

/// Returns all `.proto` files below a directory, named by their path in it.
pub(crate) fn tree(root: &Path) -> Files {
    let mut files = Files::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// Returns a random change of one of the files after which it still compiles; `None` if the attempt
/// failed.
pub(crate) fn mutate(files: &Files, random: &mut Random) -> Option<Mutation> {
    // Larger files are chosen more often.
    let mut line = random.below(files.values().map(|text| text.lines().count()).sum());
    let (name, source) = files.iter().find(|(_, text)| {
        let lines = text.lines().count();
        let is_in = line < lines;
        line = line.saturating_sub(lines);
        is_in
    })?;
    let descriptor = protox::file::File::from_source(name, source).ok()?;
    let edits = Mutator::new(descriptor.file_descriptor_proto(), source).mutate(random);
    let mutation = Mutation {
        file: name.clone(),
        edits,
        buf: BTreeSet::new(),
    };
    let pair = mutation.pair(files)?;
    (pair.old != pair.new && schema::compile(&pair.new).is_ok()).then_some(mutation)
}

/// Returns a file of a tree and all that it imports.
pub(crate) fn with_imports(tree: &Files, name: &str) -> Files {
    let mut files = Files::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let Some(text) = tree.get(&name) else {
            continue;
        };
        if files.insert(name.clone(), text.clone()).is_some() {
            continue;
        }
        if let Ok(file) = protox::file::File::from_source(&name, text) {
            open.extend(file.file_descriptor_proto().dependency.iter().cloned());
        }
    }
    files
}
