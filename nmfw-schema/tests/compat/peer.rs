//! Compares findings with those of `buf breaking`.
//!
//! buf's answers are recorded, so that the comparison does not need the program. With
//! `NMFW_BUF_BIN=.../buf` the records are compared with the program, and with `NMFW_BLESS=1` they are
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use nmfw_schema::Schema;
use nmfw_schema::compat::{Rule, Rules, compare};

use crate::buf::{Buf, as_buf};
use crate::golden::{self, is_blessing};
use crate::mutation::Random;
use crate::pairs::{
    self, MUTATIONS, Mutation, Pair, TABLE_ANSWERS, TableAnswers, corpus, mutations, of_table,
};
use crate::schema::{Files, compile};
use crate::tree;

/// The number of recorded changes of the corpus.
const RECORDED_MUTATIONS: usize = 120;

/// The number of changes of a public tree that are compared.
const TREE_MUTATIONS: usize = 100;

/// The number of changes that are tried: many do not compile.
const ATTEMPTS: usize = 5_000;

#[test]
fn findings_of_the_table_are_those_of_buf() {
    let answers: TableAnswers = serde_json::from_str(&golden::read(TABLE_ANSWERS)).unwrap();
    let mut failures = Vec::new();
    for pair in of_table() {
        let buf = answers
            .get(&pair.name)
            .unwrap_or_else(|| panic!("no answer of buf is recorded for `{}`", pair.name));
        failures.extend(difference(&pair, buf));
    }
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn findings_of_changed_files_are_those_of_buf() {
    let corpus = corpus();
    let mutations = mutations();
    assert_eq!(mutations.len(), RECORDED_MUTATIONS);
    let failures: Vec<_> = mutations
        .iter()
        .filter_map(|mutation| difference(&mutation.pair(&corpus).unwrap(), &mutation.buf))
        .collect();
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn recorded_answers_are_those_of_buf() {
    let Some(buf) = found("recorded_answers_are_those_of_buf") else {
        return;
    };
    let answers: TableAnswers = of_table()
        .into_iter()
        .map(|pair| {
            let answer = buf.breaking(&pair.old, &pair.new);
            let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", pair.name));
            (pair.name, answer)
        })
        .collect();
    let corpus = corpus();
    compile(&corpus).unwrap();
    let mutations = if is_blessing() {
        record_mutations(&buf, &corpus)
    } else {
        let mut mutations = mutations();
        for mutation in &mut mutations {
            let pair = mutation.pair(&corpus).unwrap();
            mutation.buf = buf.breaking(&pair.old, &pair.new).unwrap();
        }
        mutations
    };
    golden::compare(TABLE_ANSWERS, &in_lines(&answers));
    golden::compare(MUTATIONS, &in_lines(&mutations));
}

fn in_lines(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

fn record_mutations(buf: &Buf, corpus: &Files) -> Vec<Mutation> {
    let mut random = Random(75);
    let mut mutations = Vec::new();
    for _ in 0..ATTEMPTS {
        if mutations.len() == RECORDED_MUTATIONS {
            break;
        }
        let Some(mut mutation) = pairs::mutate(corpus, &mut random) else {
            continue;
        };
        let pair = mutation.pair(corpus).unwrap();
        // buf's compiler refuses a few files that protox accepts.
        if let Ok(answer) = buf.breaking(&pair.old, &pair.new) {
            mutation.buf = answer;
            mutations.push(mutation);
        }
    }
    mutations
}

/// Changes files of the tree that `NMFW_PROTO_TREE` names, and compares the findings with buf's.
#[test]
fn findings_of_a_public_tree_are_those_of_buf() {
    let Some((root, tree)) = tree::chosen() else {
        return;
    };
    let Some(buf) = found("findings_of_a_public_tree_are_those_of_buf") else {
        return;
    };
    let mut random = Random(1);
    let (mut compared, mut findings) = (0, 0);
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        if compared == TREE_MUTATIONS {
            break;
        }
        let Some(mutation) = pairs::mutate(&tree, &mut random) else {
            continue;
        };
        let pair = mutation.pair(&tree).unwrap();
        if let Ok(answer) = buf.breaking(&pair.old, &pair.new) {
            compared += 1;
            findings += answer.len();
            failures.extend(difference(&pair, &answer));
        }
    }
    say(&format!(
        "{compared} changes of files in {}: {findings} findings of buf, {} pairs differ",
        root.display(),
        failures.len()
    ));
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn rules_have_the_categories_of_buf() {
    let ours: BTreeSet<String> = Rule::ALL
        .iter()
        .map(|rule| {
            let categories: Vec<_> = rule.categories().iter().map(|one| one.id()).collect();
            format!("{rule} {}", categories.join(","))
        })
        .collect();
    let ours: Vec<_> = ours.into_iter().collect();
    golden::compare("golden/rules.txt", &(ours.join("\n") + "\n"));

    let Some(buf) = found("rules_have_the_categories_of_buf") else {
        return;
    };
    let of_wire = |line: &str| {
        let (id, categories) = line.split_once(' ').unwrap();
        let kept: BTreeSet<_> = categories
            .split(',')
            .filter(|category| category.starts_with("WIRE"))
            .map(str::to_owned)
            .collect();
        (!kept.is_empty()).then(|| (id.to_owned(), kept))
    };
    let listed = buf.rules().unwrap();
    let theirs: Vec<_> = listed.iter().filter_map(|line| of_wire(line)).collect();
    let ours: Vec<_> = ours.iter().filter_map(|line| of_wire(line)).collect();
    assert_eq!(ours, theirs);
}

/// Returns how the findings for a pair differ from buf's, except on purpose.
fn difference(pair: &Pair, buf: &BTreeSet<String>) -> Option<String> {
    let [old, new] = [&pair.old, &pair.new]
        .map(|files| compile(files).unwrap_or_else(|error| panic!("{}: {error}", pair.name)));
    let report = compare(&old, &new, Rules::all());
    let nmfw: BTreeSet<_> = report.findings().iter().map(as_buf).collect();
    let buf: BTreeMap<_, _> = buf
        .iter()
        .map(|line| line.split_once(" | ").unwrap())
        .collect();
    let mut only_buf: Vec<_> = buf
        .iter()
        .filter(|(finding, message)| {
            !nmfw.contains(**finding) && !is_about_entries(&pair.name, finding, message)
        })
        .map(|(finding, _)| *finding)
        .collect();
    let mut only_nmfw: Vec<_> = nmfw
        .iter()
        .map(String::as_str)
        .filter(|finding| !buf.contains_key(finding) && !is_about_packages(&old, &new, finding))
        .collect();
    only_buf.retain(|finding| {
        let matching = only_nmfw
            .iter()
            .position(|other| is_same_but_for_place(pair, finding, other));
        matching
            .map(|position| only_nmfw.remove(position))
            .is_none()
    });
    (!only_buf.is_empty() || !only_nmfw.is_empty()).then(|| {
        format!(
            "{}\nonly buf: {only_buf:#?}\nonly nmfw: {only_nmfw:#?}\n{report}",
            pair.name
        )
    })
}

/// Whether the findings differ only by their places: buf has none where this crate has one, or the
/// compilers disagree about the place of a group's type.
fn is_same_but_for_place(pair: &Pair, buf: &str, nmfw: &str) -> bool {
    if nmfw.starts_with(&format!("{buf}:")) {
        return true;
    }
    let line_of = |finding: &str| -> Option<(String, usize)> {
        let (rule_and_file, place) = finding.split_once(':')?;
        let (line, _) = place.split_once(':')?;
        Some((rule_and_file.to_owned(), line.parse().ok()?))
    };
    let Some((rule_and_file, line)) = line_of(buf) else {
        return false;
    };
    let file = rule_and_file.split(' ').nth(1);
    let is_group = file
        .and_then(|file| pair.new.get(file)?.lines().nth(line.checked_sub(1)?))
        .is_some_and(|line| line.contains(" group "));
    is_group && line_of(nmfw) == Some((rule_and_file, line))
}

/// Whether buf compares the entry types of two maps by their names; see the documentation of
/// `nmfw_schema::compat`.
fn is_about_entries(pair: &str, finding: &str, message: &str) -> bool {
    let rule = finding.split(' ').next();
    match rule {
        Some("FIELD_WIRE_COMPATIBLE_TYPE" | "FIELD_WIRE_JSON_COMPATIBLE_TYPE") => {
            let is_renamed = message.contains("Entry\" to \"") && message.ends_with("Entry\".");
            // Here buf pairs the entries of maps with different numbers.
            is_renamed || pair == "a new map takes the name of a deleted one"
        }
        Some("MESSAGE_SAME_JSON_FORMAT") => message.contains("Entry\" JSON format"),
        _ => false,
    }
}

/// Whether a service's whole package is gone, which buf reports by a rule of another category.
fn is_about_packages(old: &Schema, new: &Schema, finding: &str) -> bool {
    let packages = |schema: &Schema| -> BTreeSet<String> {
        let files = schema.pool().files();
        files.map(|file| file.package_name().to_owned()).collect()
    };
    finding.starts_with("PACKAGE_SERVICE_NO_DELETE") && !packages(old).is_subset(&packages(new))
}

fn found(test: &str) -> Option<Buf> {
    match Buf::find() {
        Ok(buf) => Some(buf),
        Err(why) => {
            say(&format!("NOT RUN: {test}: {why}"));
            None
        }
    }
}

/// Writes past the test runner, which captures `eprintln!` of passing tests.
pub(crate) fn say(line: &str) {
    _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
