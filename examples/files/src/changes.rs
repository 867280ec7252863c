//! Changes between two listings.

use std::collections::{BTreeMap, VecDeque};

use crate::files::{Change, FileInfo, change::Kind};

/// The files by name, as last reported.
#[derive(Debug)]
pub(crate) struct Snapshot(BTreeMap<String, FileInfo>);

impl Snapshot {
    pub(crate) fn new(files: Vec<FileInfo>) -> Self {
        let files = files.into_iter();
        Self(files.map(|file| (file.name.clone(), file)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the changes from this snapshot to `next`. Removals come first, because a rename is
    /// reported as a removal and a new file.
    pub(crate) fn changes_to(&self, next: &Self) -> VecDeque<Change> {
        let removed = self
            .0
            .iter()
            .filter(|(name, _)| !next.0.contains_key(*name));
        let removed = removed.map(|(_, file)| (Kind::Removed, file));
        let other = next
            .0
            .iter()
            .filter_map(|(name, file)| match self.0.get(name) {
                None => Some((Kind::Created, file)),
                Some(before) if before != file => Some((Kind::Modified, file)),
                Some(_) => None,
            });
        let change = |(kind, file): (Kind, &FileInfo)| Change {
            kind: kind.into(),
            file: Some(file.clone()),
        };
        removed.chain(other).map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(files: &[(&str, u64)]) -> Snapshot {
        let file = |(name, size): &(&str, u64)| FileInfo {
            name: (*name).to_owned(),
            size: *size,
            modified: None,
        };
        Snapshot::new(files.iter().map(file).collect())
    }

    #[test]
    fn every_difference_is_one_change() {
        let before = snapshot(&[("a", 1), ("b", 1), ("c", 1)]);
        let after = snapshot(&[("b", 1), ("c", 2), ("d", 1)]);
        let changes: Vec<_> = before
            .changes_to(&after)
            .into_iter()
            .map(|change| (change.kind(), change.file.unwrap_or_default().name))
            .collect();
        assert_eq!(
            changes,
            [
                (Kind::Removed, "a".to_owned()),
                (Kind::Modified, "c".to_owned()),
                (Kind::Created, "d".to_owned()),
            ]
        );
        assert!(after.changes_to(&after).is_empty());
    }
}
