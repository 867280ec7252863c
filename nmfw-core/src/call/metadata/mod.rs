//! [`Metadata`]: keys and values beside a message.

mod entry;
mod error;
mod iter;

use std::fmt;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

pub use self::entry::is_reserved;
use self::{entry::is_binary, error::MetadataProblem, iter::Iter};
pub use self::{
    entry::{MetadataEntry, MetadataValue},
    error::MetadataError,
};

/// Writes no padding and accepts both forms, as required by gRPC.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keys and values beside a message, sent as NATS headers.
///
/// - Keys are case-insensitive but sent as written. They consist of ASCII letters, digits and
///   `` !#$%&'*+-.^_`|~ `` (a *token* of RFC 9110).
/// - A key can have several values; their order is kept.
/// - Text values are UTF-8 without control characters and without leading or trailing white space
///   (which NATS clients trim).
/// - Keys that end in `-bin` carry bytes, base64 on the wire, as in gRPC.
/// - Keys that the protocols use are reserved: `Nmfw`, `Nmfw-*`, `Nats-*`, `Content-Type`,
///   `traceparent`, `tracestate`.
/// - There are at most 256 values over all keys, and their total [size](Self::size) is at most [64
///   KiB](Self::MAX_SIZE). The NATS server's `max_payload`, which covers headers and body together,
///   may be lower.
///
/// Values that break these rules are refused with an error, never dropped or changed. The order of
/// values is preserved, even across keys. Merging, extending and collecting do not check the
/// limits: a call that exceeds them fails with `INVALID_ARGUMENT`, a response with `INTERNAL`.
///
/// ```
/// # fn main() -> Result<(), nmfw::MetadataError> {
/// let mut metadata = nmfw::Metadata::new();
/// metadata.insert("Tenant", "acme")?;
/// metadata.append("tag", "a")?;
/// metadata.append("tag", "b")?;
/// metadata.insert_bin("token-bin", vec![0, 159, 146, 150])?;
///
/// assert_eq!(metadata.get("tenant"), Some("acme"));
/// assert_eq!(metadata.get_all("tag").collect::<Vec<_>>(), ["a", "b"]);
/// assert!(metadata.insert("note", "two\nlines").is_err());
/// # Ok(())
/// # }
/// ```
///
/// References iterate over keys and values; owned metadata iterates over [entries](MetadataEntry),
/// and can be extended with and collected from them:
///
/// ```
/// use nmfw::{Metadata, MetadataEntry};
///
/// # fn main() -> Result<(), nmfw::MetadataError> {
/// let pairs = [("tenant", "acme"), ("tag", "a")];
/// let mut metadata: Metadata =
///     pairs.into_iter().map(|(key, value)| MetadataEntry::text(key, value)).collect::<Result<_, _>>()?;
/// metadata.extend([MetadataEntry::binary("token-bin", vec![0, 159])?]);
///
/// for (key, value) in &metadata {
///     println!("{key}: {value:?}");
/// }
/// let public: Metadata = metadata.into_iter().filter(|entry| entry.key() != "token-bin").collect();
/// assert_eq!(public.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    // Usually a handful of entries, for which a scan is faster than a map and keeps the order.
    entries: Vec<MetadataEntry>,
    /// The total size of all entries.
    size: usize,
}

/// Maximum number of values in a call or a response, on every transport. Each takes more memory
/// than its bytes on the wire.
pub const MAX_VALUES: usize = 256;

/// The fixed cost of a value, in addition to the bytes of key and value. It is about the memory
/// overhead of a value. HTTP/2 counts header fields in the same way.
const VALUE_COST: usize = 32;

impl Metadata {
    /// The largest [size](Self::size) of the metadata of a call or a response in bytes, on every
    /// transport: 64 KiB.
    pub const MAX_SIZE: usize = 64 * 1024;

    /// Creates empty metadata, without allocating.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            size: 0,
        }
    }

    /// Returns the size that [`Self::MAX_SIZE`] limits: for each value, its bytes, those of its
    /// key, and 32 more. Binary values count with their own bytes, not those of their base64 form.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Sets the value of a key, replacing all existing ones.
    ///
    /// # Errors
    /// Fails if the key or the value breaks the rules above, or if the key ends in `-bin`.
    pub fn insert(
        &mut self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        let entry = MetadataEntry::text(key, value)?;
        self.remove(entry.key());
        self.push(entry)
    }

    /// Appends a value to a key, after any existing ones.
    ///
    /// # Errors
    /// Fails if the key or the value breaks the rules above, or if the key ends in `-bin`.
    pub fn append(
        &mut self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        self.push(MetadataEntry::text(key, value)?)
    }

    /// Sets the value of a `-bin` key, replacing all existing ones.
    ///
    /// # Errors
    /// Fails if the key breaks the rules above or does not end in `-bin`.
    pub fn insert_bin(
        &mut self,
        key: impl AsRef<str>,
        value: impl Into<Bytes>,
    ) -> Result<(), MetadataError> {
        let entry = MetadataEntry::binary(key, value)?;
        self.remove(entry.key());
        self.push(entry)
    }

    /// Appends a value to a `-bin` key, after any existing ones.
    ///
    /// # Errors
    /// Fails if the key breaks the rules above or does not end in `-bin`.
    pub fn append_bin(
        &mut self,
        key: impl AsRef<str>,
        value: impl Into<Bytes>,
    ) -> Result<(), MetadataError> {
        self.push(MetadataEntry::binary(key, value)?)
    }

    fn push(&mut self, entry: MetadataEntry) -> Result<(), MetadataError> {
        if self.entries.len() >= MAX_VALUES {
            return Err(MetadataError::new(&entry.key, MetadataProblem::TooMany));
        }
        let size = self.size + entry.size();
        if size > Self::MAX_SIZE {
            return Err(MetadataError::new(&entry.key, MetadataProblem::TooLarge));
        }
        self.size = size;
        self.entries.push(entry);
        Ok(())
    }

    /// Checks the limits of a call, which merging does not check.
    #[doc(hidden)]
    pub fn check_size(&self) -> Result<(), MetadataError> {
        if let Some(entry) = self.entries.get(MAX_VALUES) {
            return Err(MetadataError::new(&entry.key, MetadataProblem::TooMany));
        }
        if self.size > Self::MAX_SIZE {
            let largest = self.entries.iter().max_by_key(|entry| entry.size());
            let key = largest.map_or("", MetadataEntry::key);
            return Err(MetadataError::new(key, MetadataProblem::TooLarge));
        }
        Ok(())
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|entry| {
            let is_kept = keep(&entry.key);
            if !is_kept {
                self.size -= entry.size();
            }
            is_kept
        });
    }

    /// Returns the first text value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.get_all(key).next()
    }

    /// Returns all text values of a key, in order.
    pub fn get_all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.values(key).filter_map(MetadataValue::as_str)
    }

    /// Returns the first value of a `-bin` key.
    #[must_use]
    pub fn get_bin(&self, key: &str) -> Option<&Bytes> {
        self.get_all_bin(key).next()
    }

    /// Returns all values of a `-bin` key, in order.
    pub fn get_all_bin<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Bytes> {
        self.values(key).filter_map(|value| match value {
            MetadataValue::Text(_) => None,
            MetadataValue::Binary(bytes) => Some(bytes),
        })
    }

    fn values<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a MetadataValue> {
        self.entries
            .iter()
            .filter(move |entry| entry.key.eq_ignore_ascii_case(key))
            .map(MetadataEntry::value)
    }

    /// Removes a key with all its values; returns whether it existed.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        self.retain(|k| !k.eq_ignore_ascii_case(key));
        self.entries.len() != before
    }

    /// Returns whether a key has a value.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// Returns the number of values over all keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns all keys and values in the order in which they were added.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(&self.entries)
    }

    /// Adds all values of `other`, which replace existing values of the same keys.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.retain(|key| !other.contains_key(key));
        self.entries.extend(other.entries.iter().cloned());
        self.size += other.size;
    }

    /// Returns whether there are several keys, counting spellings that differ only in case.
    #[doc(hidden)]
    pub fn has_several_names(&self) -> bool {
        let mut names = self.entries.iter().map(MetadataEntry::key);
        let first = names.next();
        names.any(|name| Some(name) != first)
    }

    /// Restores the sender's order, given as comma-separated names in the sender's spelling. Values
    /// that the order does not mention come last, and names without a value are skipped.
    #[doc(hidden)]
    pub fn reorder(&mut self, order: &str) {
        let mut rest: Vec<_> = std::mem::take(&mut self.entries)
            .into_iter()
            .map(Some)
            .collect();
        // Names beyond the number of values have no meaning; skipping them bounds the work.
        for name in order.split(',').take(rest.len()) {
            let is_next = |entry: &&mut Option<MetadataEntry>| {
                entry.as_ref().is_some_and(|entry| *entry.key == *name)
            };
            let entry = rest.iter_mut().find(is_next).and_then(Option::take);
            self.entries.extend(entry);
        }
        self.entries.extend(rest.into_iter().flatten());
    }

    /// Adds the value of a header: text, or base64 for a `-bin` key.
    #[doc(hidden)]
    pub fn append_wire(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        let entry = if is_binary(key) {
            let bytes = BASE64
                .decode(value)
                .map_err(|_| MetadataError::new(key, MetadataProblem::NotBase64))?;
            MetadataEntry::binary(key, bytes)?
        } else {
            MetadataEntry::text(key, value)?
        };
        self.push(entry)
    }

    /// Returns every key and value in the form that is sent in headers.
    #[doc(hidden)]
    pub fn wire(&self) -> impl Iterator<Item = (&str, String)> {
        self.iter().map(|(key, value)| {
            let value = match value {
                MetadataValue::Text(text) => text.clone(),
                MetadataValue::Binary(bytes) => BASE64.encode(bytes),
            };
            (key, value)
        })
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_iterated_collected_and_appended() {
        let mut metadata = Metadata::new();
        metadata.insert("Tenant", "acme").unwrap();
        metadata.append_bin("token-bin", vec![159]).unwrap();
        let pairs: Vec<_> = (&metadata).into_iter().collect();
        assert_eq!(pairs.len(), metadata.iter().len());
        assert_eq!(
            pairs[0],
            ("Tenant", &MetadataValue::Text("acme".to_owned()))
        );
        assert_eq!(
            (pairs[1].1.as_str(), pairs[1].1.as_bytes()),
            (None, &[159][..])
        );

        let copy: Metadata = metadata.clone().into_iter().collect();
        assert_eq!(copy, metadata);
        let more = MetadataEntry::text("tenant", "globex").unwrap();
        metadata.extend([more]);
        assert_eq!(
            metadata.get_all("tenant").collect::<Vec<_>>(),
            ["acme", "globex"]
        );
        assert_eq!(
            metadata.size(),
            copy.size() + "tenantglobex".len() + VALUE_COST
        );
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let mut metadata = Metadata::new();
        for key in ["", "a b", "a:b", "ä", "a\n", "a\0"] {
            let error = metadata.insert(key, "x").unwrap_err();
            assert_eq!(error.problem, MetadataProblem::Key, "{key:?}");
        }
        for key in [
            "nmfw",
            "Nmfw-Deadline",
            "NATS-Service-Error",
            "Traceparent",
            "content-type",
        ] {
            let error = metadata.insert(key, "x").unwrap_err();
            assert_eq!(error.problem, MetadataProblem::Reserved, "{key:?}");
        }
        for value in ["a\nb", "a\rb", "\0", "a\u{85}b", "\t"] {
            let error = metadata.insert("key", value).unwrap_err();
            assert_eq!(error.problem, MetadataProblem::Control, "{value:?}");
        }
        for value in [" a", "a ", "\u{a0}a"] {
            let error = metadata.insert("key", value).unwrap_err();
            assert_eq!(error.problem, MetadataProblem::Space, "{value:?}");
        }
        assert!(metadata.insert("key-bin", "x").is_err());
        assert!(metadata.insert_bin("key", vec![1]).is_err());
        assert!(metadata.append_wire("key-Bin", "###").is_err());
        assert!(metadata.is_empty());
    }

    #[test]
    fn keys_are_compared_without_case() {
        let mut metadata = Metadata::new();
        metadata.append("Tag", "1").unwrap();
        metadata.append("tag", "2").unwrap();
        assert_eq!(metadata.get_all("TAG").collect::<Vec<_>>(), ["1", "2"]);
        metadata.insert("TAG", "3").unwrap();
        assert_eq!(metadata.len(), 1);
        assert!(metadata.remove("tAg"));
        assert!(!metadata.contains_key("tag"));
    }

    #[test]
    fn merge_replaces_whole_keys() {
        let mut a = Metadata::new();
        a.append("k", "1").unwrap();
        a.append("k", "2").unwrap();
        a.insert("other", "x").unwrap();
        let mut b = Metadata::new();
        b.insert("K", "3").unwrap();
        a.merge(&b);
        assert_eq!(a.get_all("k").collect::<Vec<_>>(), ["3"]);
        assert_eq!(a.get("other"), Some("x"));
    }

    #[test]
    fn values_are_counted() {
        let mut metadata = Metadata::new();
        for i in 0..MAX_VALUES {
            metadata.append(format!("k{i}"), "v").unwrap();
        }
        for error in [
            metadata.append("k0", "v").unwrap_err(),
            metadata.append_bin("k-bin", vec![0]).unwrap_err(),
            metadata.append_wire("k0", "v").unwrap_err(),
            metadata.insert("other", "v").unwrap_err(),
        ] {
            assert_eq!(error.problem, MetadataProblem::TooMany);
        }
        // Replaces an existing value.
        metadata.insert("k0", "w").unwrap();
        assert!(metadata.check_size().is_ok());
        let mut other = Metadata::new();
        other.insert("other", "v").unwrap();
        metadata.merge(&other);
        assert_eq!(metadata.check_size().unwrap_err().key(), "other");
    }

    #[test]
    fn bytes_are_counted() {
        let mut metadata = Metadata::new();
        let room = Metadata::MAX_SIZE - VALUE_COST - "k".len();
        let error = metadata.insert("k", "x".repeat(room + 1)).unwrap_err();
        assert_eq!(error.problem, MetadataProblem::TooLarge);
        metadata.insert("k", "x".repeat(room)).unwrap();
        assert_eq!(metadata.size(), Metadata::MAX_SIZE);
        for error in [
            metadata.append("k", "").unwrap_err(),
            metadata.append_bin("k-bin", vec![]).unwrap_err(),
            metadata.append_wire("k", "").unwrap_err(),
        ] {
            assert_eq!(error.problem, MetadataProblem::TooLarge);
        }
        // Replaces an existing value.
        metadata.insert("k", "x").unwrap();
        metadata.insert_bin("k-bin", vec![0; room / 2]).unwrap();
        metadata.check_size().unwrap();
        let mut other = Metadata::new();
        other.insert("other", "x".repeat(room / 2)).unwrap();
        metadata.merge(&other);
        let all: usize = metadata.entries.iter().map(MetadataEntry::size).sum();
        assert_eq!(metadata.size(), all);
        metadata.remove("OTHER");
        metadata.remove("k-bin");
        assert_eq!(metadata.size(), "kx".len() + VALUE_COST);
    }

    #[test]
    fn what_merging_adds_is_counted_when_it_is_checked() {
        let half = |key: &str| {
            let mut metadata = Metadata::new();
            metadata.insert(key, "x".repeat(40_000)).unwrap();
            metadata
        };
        let mut metadata = half("a");
        metadata.merge(&half("b"));
        let error = metadata.check_size().unwrap_err();
        assert_eq!(error.problem, MetadataProblem::TooLarge);
        assert!(error.to_string().contains("64 KiB"), "{error}");
    }

    #[test]
    fn padded_base64_is_taken_too() {
        let mut metadata = Metadata::new();
        metadata.append_wire("a-bin", "AA==").unwrap();
        metadata.append_wire("a-bin", "AA").unwrap();
        assert!(metadata.get_all_bin("a-bin").all(|bytes| **bytes == [0]));
    }

    #[test]
    fn an_order_is_restored() {
        let metadata = |names: &[&str]| {
            let mut metadata = Metadata::new();
            for (value, name) in names.iter().enumerate() {
                metadata.append(*name, value.to_string()).unwrap();
            }
            metadata
        };
        let names = |metadata: &Metadata| {
            let names = metadata.iter().map(|(name, _)| name.to_owned());
            names.collect::<Vec<_>>().join(",")
        };
        for (order, expected) in [
            ("tag,a,Tag,tag", "tag,a,Tag,tag"),
            // An unrelated order loses no values.
            ("", "a,tag,tag,Tag"),
            ("Tag", "Tag,a,tag,tag"),
            ("x,,tag,tag,tag,tag,TAG,a", "tag,tag,a,Tag"),
        ] {
            let mut arrived = metadata(&["a", "tag", "tag", "Tag"]);
            arrived.reorder(order);
            assert_eq!(names(&arrived), expected, "{order}");
            assert_eq!(arrived.get("tag"), arrived.get("TAG"));
        }
        assert!(metadata(&["a", "A"]).has_several_names());
        assert!(!metadata(&["a", "a"]).has_several_names());
        assert!(!Metadata::new().has_several_names());
    }

    proptest! {
        #[test]
        fn what_is_taken_survives_the_wire(key in "\\PC{0,12}", text in ".{0,20}", bytes: Vec<u8>) {
            let mut sent = Metadata::new();
            let _ = sent.append(&key, text);
            let _ = sent.append_bin(format!("{key}-bin"), bytes);
            let mut got = Metadata::new();
            for (key, value) in sent.wire() {
                prop_assert_eq!(value.trim(), value.as_str());
                prop_assert!(!value.contains(['\r', '\n']));
                got.append_wire(key, &value).unwrap();
            }
            prop_assert_eq!(got, sent);
        }
    }
}
