//! Each rule fires, and does not fire on what is nearly broken.

use std::collections::BTreeSet;

use nmfw_schema::compat::{Category, Rule, Rules, compare};

use crate::golden;
use crate::schema::{compile, files};
use crate::table::cases;

#[test]
fn rules_find_what_the_table_says() {
    let mut failures = Vec::new();
    for case in cases() {
        let [old, new] = [case.old, case.new].map(|text| {
            compile(&files(text)).unwrap_or_else(|error| panic!("{}: {error}", case.name))
        });
        let report = compare(&old, &new, Rules::all());
        let found: Vec<String> = report
            .findings()
            .iter()
            .map(|finding| format!("{} {}", finding.rule, finding.element))
            .collect();
        if found != case.finds {
            failures.push(format!(
                "{}: expected {:#?}, found {found:#?}",
                case.name, case.finds
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Findings as lines, with their places and sentences.
#[test]
fn lines_say_what_changed_and_what_breaks() {
    let mut lines = String::new();
    for case in cases() {
        let [old, new] = [case.old, case.new].map(|text| compile(&files(text)).unwrap());
        let report = compare(&old, &new, Rules::all());
        lines.push_str(&format!("# {}\n{report}\n", case.name));
    }
    golden::compare("golden/lines.txt", &lines);
}

#[test]
fn every_rule_has_a_case_that_fires_and_one_that_does_not() {
    for rule in Rule::ALL {
        let mut fires = [false, false];
        for case in cases().filter(|case| case.rule == *rule) {
            let does = case
                .finds
                .iter()
                .any(|found| found.split_once(' ').is_some_and(|(id, _)| id == rule.id()));
            fires[usize::from(does)] = true;
        }
        assert_eq!(fires, [true, true], "{rule}");
    }
}

#[test]
fn names_of_cases_are_unique() {
    let names: BTreeSet<_> = cases().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().count());
}

#[test]
fn a_schema_equals_itself() {
    for case in cases() {
        let schema = compile(&files(case.old)).unwrap();
        let report = compare(&schema, &schema, Rules::all());
        assert!(report.is_empty(), "{}: {report}", case.name);
        for category in Category::ALL {
            assert!(report.is_compatible(category), "{}", case.name);
        }
    }
}
