//! Iterators over [`Metadata`], and conversions from iterators.

use std::{iter, slice, vec};

use super::{Metadata, MetadataEntry, MetadataValue};

/// The iterator of [`Metadata::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(slice::Iter<'a, MetadataEntry>);

impl<'a> Iter<'a> {
    pub(super) fn new(entries: &'a [MetadataEntry]) -> Self {
        Self(entries.iter())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a MetadataValue);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(MetadataEntry::pair)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(MetadataEntry::pair)
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl iter::FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a MetadataValue);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The iterator over the entries of a [`Metadata`] by value.
#[derive(Clone, Debug)]
pub struct IntoIter(vec::IntoIter<MetadataEntry>);

impl Iterator for IntoIter {
    type Item = MetadataEntry;

    fn next(&mut self) -> Option<MetadataEntry> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for IntoIter {
    fn next_back(&mut self) -> Option<MetadataEntry> {
        self.0.next_back()
    }
}

impl ExactSizeIterator for IntoIter {}

impl iter::FusedIterator for IntoIter {}

impl IntoIterator for Metadata {
    type Item = MetadataEntry;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self.entries.into_iter())
    }
}

/// Appends entries after existing values of their keys, which [`Metadata::merge`] would replace.
impl Extend<MetadataEntry> for Metadata {
    fn extend<I: IntoIterator<Item = MetadataEntry>>(&mut self, entries: I) {
        let size = &mut self.size;
        let entries = entries.into_iter();
        self.entries
            .extend(entries.inspect(|entry| *size += entry.size()));
    }
}

impl FromIterator<MetadataEntry> for Metadata {
    fn from_iter<I: IntoIterator<Item = MetadataEntry>>(entries: I) -> Self {
        let mut metadata = Self::new();
        metadata.extend(entries);
        metadata
    }
}
