//! Finds the parts of a file's new version in its old one, for `files sync`.

use std::collections::HashMap;

use bytes::Bytes;

use crate::checksum::Checksum;

/// The blocks of an old version, by checksum.
#[derive(Debug, Default)]
pub(crate) struct OldBlocks {
    in_order: Vec<Checksum>,
    by_checksum: HashMap<Checksum, u64>,
}

/// A step in building the new version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Copies bytes of the old version.
    Copy {
        offset: u64,
        size: u64,
    },
    Data(Bytes),
}

impl OldBlocks {
    /// Adds the next blocks, from their concatenated checksums. Returns false if the length is
    /// wrong.
    #[must_use]
    pub(crate) fn extend(&mut self, checksums: &[u8]) -> bool {
        for checksum in checksums.chunks(Checksum::LEN) {
            let Some(checksum) = Checksum::from_bytes(checksum) else {
                return false;
            };
            let index = self.in_order.len() as u64;
            self.by_checksum.entry(checksum).or_insert(index);
            self.in_order.push(checksum);
        }
        true
    }

    /// Returns the block of the old version that equals block `index` of the new one. Prefers the
    /// one at the same position, so that unchanged parts become one long copy.
    fn find(&self, index: u64, block: &[u8]) -> Option<u64> {
        if self.in_order.is_empty() {
            return None;
        }
        let checksum = Checksum::of(block);
        let at_same_place = usize::try_from(index)
            .ok()
            .and_then(|index| self.in_order.get(index));
        if at_same_place == Some(&checksum) {
            return Some(index);
        }
        self.by_checksum.get(&checksum).copied()
    }
}

/// Converts the blocks of a new version to steps.
#[derive(Debug)]
pub(crate) struct Delta {
    old: OldBlocks,
    block_size: u64,
    index: u64,
    copy: Option<(u64, u64)>,
}

impl Delta {
    pub(crate) fn new(old: OldBlocks, block_size: u64) -> Self {
        Self {
            old,
            block_size,
            index: 0,
            copy: None,
        }
    }

    /// Returns the steps that the next block adds. All blocks except the last have the block size.
    pub(crate) fn push(&mut self, block: Bytes) -> Vec<Step> {
        let found = self.old.find(self.index, &block);
        self.index += 1;
        let Some(found) = found else {
            let copy = self.finish();
            return copy.into_iter().chain([Step::Data(block)]).collect();
        };
        let offset = found * self.block_size;
        // Equal content has equal size, so this is also right for a short last block.
        let size = block.len() as u64;
        match &mut self.copy {
            Some((start, length)) if *start + *length == offset => {
                *length += size;
                Vec::new()
            }
            _ => {
                let before = self.finish();
                self.copy = Some((offset, size));
                before.into_iter().collect()
            }
        }
    }

    /// Returns the last step, after all blocks.
    pub(crate) fn finish(&mut self) -> Option<Step> {
        let (offset, size) = self.copy.take()?;
        Some(Step::Copy { offset, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4;

    fn steps(old: &str, new: &str) -> Vec<Step> {
        let mut blocks = OldBlocks::default();
        for block in old.as_bytes().chunks(SIZE) {
            assert!(blocks.extend(Checksum::of(block).as_bytes()));
        }
        let mut delta = Delta::new(blocks, SIZE as u64);
        let mut steps = Vec::new();
        for block in new.as_bytes().chunks(SIZE) {
            steps.extend(delta.push(Bytes::copy_from_slice(block)));
        }
        steps.extend(delta.finish());
        let made: String = steps
            .iter()
            .map(|step| match step {
                Step::Copy { offset, size } => &old[*offset as usize..][..*size as usize],
                Step::Data(data) => std::str::from_utf8(data).unwrap(),
            })
            .collect();
        assert_eq!(made, new);
        steps
    }

    fn copy(offset: u64, size: u64) -> Step {
        Step::Copy { offset, size }
    }

    fn data(text: &'static str) -> Step {
        Step::Data(Bytes::from(text))
    }

    #[test]
    fn the_same_is_one_copy() {
        assert_eq!(steps("aaaabbbbcc", "aaaabbbbcc"), [copy(0, 10)]);
        assert_eq!(steps("aaaaaaaaaaaa", "aaaaaaaaaaaa"), [copy(0, 12)]);
        assert_eq!(steps("", ""), []);
    }

    #[test]
    fn only_what_is_new_is_sent() {
        assert_eq!(
            steps("aaaabbbbcccc", "aaaaBBBBcccc"),
            [copy(0, 4), data("BBBB"), copy(8, 4)]
        );
        assert_eq!(steps("aaaabb", "aaaabbbb"), [copy(0, 4), data("bbbb")]);
        assert_eq!(steps("aaaabbbb", "aaaa"), [copy(0, 4)]);
        assert_eq!(steps("", "aaaab"), [data("aaaa"), data("b")]);
        assert_eq!(steps("aaaa", ""), []);
    }

    #[test]
    fn blocks_are_found_elsewhere() {
        assert_eq!(
            steps("aaaabbbbcccc", "ccccaaaabbbb"),
            [copy(8, 4), copy(0, 8)]
        );
    }

    #[test]
    fn half_a_checksum_is_refused() {
        assert!(!OldBlocks::default().extend(&[0; Checksum::LEN + 1]));
    }
}
