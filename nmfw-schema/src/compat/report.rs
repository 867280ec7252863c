//! [`Report`], and the collection of its findings.

use std::fmt;

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::locations::{Locations, Place};
use super::{Category, Finding, Location, Rule, Rules};

/// The findings of a comparison, sorted by place, rule and element.
///
/// Displayed as one line for each finding. Serialized as an object with `compatible`, `counts`,
/// `findings` and `omitted`.
#[derive(Clone, Debug)]
pub struct Report {
    rules: Rules,
    counts: Counts,
    findings: Vec<Finding>,
}

impl Report {
    /// The maximum number of findings that a report keeps: 10,000. More are only counted.
    pub const MAX_FINDINGS: usize = 10_000;

    /// Returns the findings of the rules that were asked for, at most
    /// [`MAX_FINDINGS`](Self::MAX_FINDINGS).
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the number of findings of the rules that were asked for, with those that
    /// [`findings`](Self::findings) lacks.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.sum(|rule| self.rules.contains(rule))
    }

    /// Returns the number of findings that were counted but not kept.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.total() - self.findings.len()
    }

    /// Whether no rule that was asked for was broken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Whether no rule of the category was broken, except those that were turned off by
    /// [`Rules::without`].
    ///
    /// The rules of all categories are checked, whether or not their findings are reported.
    #[must_use]
    pub fn is_compatible(&self, category: Category) -> bool {
        self.count(category) == 0
    }

    /// Returns the number of times that rules of the category were broken, whether or not the
    /// findings are reported. Rules that were turned off by [`Rules::without`] do not count.
    #[must_use]
    pub fn count(&self, category: Category) -> usize {
        self.counts
            .sum(|rule| rule.is_in(category) && !self.rules.excepts(rule))
    }

    /// Returns the number of times that the rule was broken, whether or not the findings are
    /// reported; 0 for a rule that was turned off by [`Rules::without`].
    #[must_use]
    pub fn count_of(&self, rule: Rule) -> usize {
        self.counts
            .sum(|other| other == rule && !self.rules.excepts(other))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.omitted() {
            0 => Ok(()),
            omitted => writeln!(f, "and {omitted} more"),
        }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 4)?;
        report.serialize_field("compatible", &Compatible(self))?;
        report.serialize_field("counts", &ByRule(self))?;
        report.serialize_field("findings", &self.findings)?;
        report.serialize_field("omitted", &self.omitted())?;
        report.end()
    }
}

/// `{"WIRE": true, ..}`
struct Compatible<'a>(&'a Report);

impl Serialize for Compatible<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Category::ALL.len()))?;
        for category in Category::ALL {
            map.serialize_entry(&category, &self.0.is_compatible(category))?;
        }
        map.end()
    }
}

/// `{"FIELD_SAME_NAME": 2, ..}`, of the rules that were asked for and broken.
struct ByRule<'a>(&'a Report);

impl Serialize for ByRule<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for rule in Rule::ALL.iter().copied() {
            let count = self.0.count_of(rule);
            if count > 0 && self.0.rules.contains(rule) {
                map.serialize_entry(&rule, &count)?;
            }
        }
        map.end()
    }
}

/// The number of findings of each rule.
#[derive(Clone, Debug, Default)]
struct Counts([usize; Rule::ALL.len()]);

impl Counts {
    fn sum(&self, of: impl Fn(Rule) -> bool) -> usize {
        Rule::ALL
            .iter()
            .zip(self.0)
            .filter(|(rule, _)| of(**rule))
            .map(|(_, count)| count)
            .sum()
    }

    fn add(&mut self, rule: Rule) {
        if let Some(count) = self.0.get_mut(rule as usize) {
            *count += 1;
        }
    }
}

/// A finding whose places are not yet looked up.
pub(super) struct Draft {
    pub(super) element: String,
    pub(super) change: String,
    pub(super) effect: String,
    pub(super) old: Option<Place>,
    pub(super) new: Option<Place>,
}

/// Takes findings during a comparison.
pub(super) struct Findings<'a> {
    rules: Rules,
    counts: Counts,
    findings: Vec<Finding>,
    old: Locations<'a>,
    new: Locations<'a>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(rules: Rules, old: Locations<'a>, new: Locations<'a>) -> Self {
        Self {
            rules,
            counts: Counts::default(),
            findings: Vec::new(),
            old,
            new,
        }
    }

    /// Counts a finding, and keeps it if its rule was asked for and there is space.
    ///
    /// The draft is made only then: a hostile schema can have millions of findings.
    pub(super) fn add(&mut self, rule: Rule, draft: impl FnOnce() -> Draft) {
        self.counts.add(rule);
        if !self.rules.contains(rule) || self.findings.len() == Report::MAX_FINDINGS {
            return;
        }
        let draft = draft();
        self.findings.push(Finding {
            rule,
            element: draft.element,
            change: draft.change,
            effect: draft.effect,
            old: draft.old.and_then(|place| self.old.find(&place)),
            new: draft.new.and_then(|place| self.new.find(&place)),
        });
    }

    pub(super) fn into_report(mut self) -> Report {
        fn key(finding: &Finding) -> (Option<&Location>, Rule, &str, &str) {
            let Finding {
                rule,
                element,
                change,
                ..
            } = finding;
            (finding.location(), *rule, element, change)
        }
        self.findings.sort_by(|a, b| key(a).cmp(&key(b)));
        Report {
            rules: self.rules,
            counts: self.counts,
            findings: self.findings,
        }
    }
}
