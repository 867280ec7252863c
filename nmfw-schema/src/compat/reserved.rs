//! Reserved numbers and names.

use std::collections::BTreeSet;

use prost_reflect::{EnumDescriptor, MessageDescriptor};

use super::Rule;
use super::locations::Place;
use super::parties::Parties;
use super::report::{Draft, Findings};
use super::text::shown;

/// The reserved numbers and names of a message or enum.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    /// Both ends included, as declared.
    ranges: Vec<(i64, i64)>,
    names: BTreeSet<String>,
    /// Sorted and joined, so that between any two there is a gap.
    joined: Vec<(i64, i64)>,
    /// The number that `max` stands for.
    max: i64,
}

impl Reserved {
    /// The largest number of a field.
    const MAX_FIELD: i64 = (1 << 29) - 1;

    pub(super) fn of_message(message: &MessageDescriptor) -> Self {
        Self::new(
            message
                .reserved_ranges()
                .map(|range| (i64::from(range.start), i64::from(range.end) - 1)),
            message.reserved_names(),
            Self::MAX_FIELD,
        )
    }

    pub(super) fn of_enum(found: &EnumDescriptor) -> Self {
        Self::new(
            found
                .reserved_ranges()
                .map(|range| (i64::from(*range.start()), i64::from(*range.end()))),
            found.reserved_names(),
            i64::from(i32::MAX),
        )
    }

    fn new<'a>(
        ranges: impl Iterator<Item = (i64, i64)>,
        names: impl Iterator<Item = &'a str>,
        max: i64,
    ) -> Self {
        let ranges: Vec<_> = ranges.filter(|(start, end)| start <= end).collect();
        Self {
            joined: joined(ranges.clone()),
            ranges,
            names: names.map(str::to_owned).collect(),
            max,
        }
    }

    pub(super) fn has_number(&self, number: i64) -> bool {
        self.missing(number, number).is_empty()
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Returns the parts of the range that are not reserved here; at most [`MAX_PARTS`](Self::MAX_PARTS).
    fn missing(&self, start: i64, end: i64) -> Vec<(i64, i64)> {
        let first = self.joined.partition_point(|range| range.1 < start);
        let mut missing = Vec::new();
        let mut next = start;
        for (from, to) in self.joined.iter().copied().skip(first) {
            if from > end || missing.len() == Self::MAX_PARTS {
                break;
            }
            if next < from {
                missing.push((next, from - 1));
            }
            next = to + 1;
        }
        if next <= end && missing.len() < Self::MAX_PARTS {
            missing.push((next, end));
        }
        missing
    }

    /// The maximum number of parts that a finding lists.
    const MAX_PARTS: usize = 10;

    fn range(&self, (start, end): (i64, i64)) -> String {
        match end {
            _ if start == end => start.to_string(),
            _ if end == self.max => format!("{start} to max"),
            _ => format!("{start} to {end}"),
        }
    }
}

/// Sorts ranges, and joins those that touch.
fn joined(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 + 1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// A message or enum whose reserved numbers and names are compared.
pub(super) struct Owner<'a> {
    pub(super) rule: Rule,
    pub(super) element: &'a str,
    pub(super) parties: Parties,
    /// "field" or "value".
    pub(super) member: &'static str,
    pub(super) old: &'a dyn Fn() -> Place,
    pub(super) new: &'a dyn Fn() -> Place,
}

/// Finds reserved numbers and names that are no longer reserved.
pub(super) fn compare(
    owner: &Owner<'_>,
    old: &Reserved,
    new: &Reserved,
    findings: &mut Findings<'_>,
) {
    for (start, end) in &old.ranges {
        let missing = new.missing(*start, *end);
        if missing.is_empty() {
            continue;
        }
        findings.add(owner.rule, || {
            let parts: Vec<_> = missing.iter().map(|part| old.range(*part)).collect();
            let verb = match missing.as_slice() {
                [(start, end)] if start == end => "is",
                _ => "are",
            };
            let change = format!("{} {verb} no longer reserved", parts.join(", "));
            owner.draft(change, "number")
        });
    }
    for name in old.names.difference(&new.names) {
        findings.add(owner.rule, || {
            owner.draft(
                format!("the name `{}` is no longer reserved", shown(name)),
                "name",
            )
        });
    }
}

impl Owner<'_> {
    fn draft(&self, change: String, key: &str) -> Draft {
        Draft {
            element: shown(self.element),
            change,
            effect: format!(
                "{} may still use the {key} for a deleted {member}, and misread a new {member} with it",
                self.parties.old(),
                member = self.member,
            ),
            old: Some((self.old)()),
            new: Some((self.new)()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Reserved;

    fn reserved(ranges: &[(i64, i64)]) -> Reserved {
        Reserved::new(ranges.iter().copied(), std::iter::empty(), 1_000)
    }

    #[test]
    fn missing_parts_are_found() {
        let reserved = reserved(&[(5, 9), (1, 2), (3, 3), (20, 1_000)]);
        assert_eq!(reserved.missing(1, 3), []);
        assert_eq!(reserved.missing(0, 4), [(0, 0), (4, 4)]);
        assert_eq!(reserved.missing(4, 30), [(4, 4), (10, 19)]);
        assert_eq!(reserved.missing(10, 12), [(10, 12)]);
        assert_eq!(reserved.missing(999, 2_000), [(1_001, 2_000)]);
        assert_eq!(reserved.range((20, 1_000)), "20 to max");
    }

    proptest! {
        #[test]
        fn parts_are_the_numbers_that_no_range_has(
            ranges in prop::collection::vec((0i64..40, 0i64..6), 0..8),
            start in 0i64..40,
            length in 0i64..20,
        ) {
            let ranges: Vec<_> = ranges.iter().map(|(from, length)| (*from, from + length)).collect();
            let expected: Vec<_> = (start..=start + length)
                .filter(|number| !ranges.iter().any(|range| (range.0..=range.1).contains(number)))
                .collect();
            let missing = reserved(&ranges).missing(start, start + length);
            let found: Vec<_> = missing.iter().flat_map(|part| part.0..=part.1).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
