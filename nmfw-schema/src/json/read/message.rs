//! Reads objects as messages.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Reader;
use super::field::{AnyField, FieldSeed};
use super::source::{FromMap, KeySeed, Source, no_list, only};
use crate::json::error::{Step, escape};

/// Reads an object into a message.
///
/// # Errors
/// Fails if the value is not an object, or does not fit the message.
pub(super) fn read<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    message: &mut DynamicMessage,
    depth: usize,
    from: D,
) -> Result<(), D::Error> {
    from.deserialize_any(MessageVisitor {
        reader,
        message,
        depth,
    })
}

struct MessageVisitor<'a> {
    reader: &'a Reader<'a>,
    message: &'a mut DynamicMessage,
    depth: usize,
}

impl<'de> Visitor<'de> for MessageVisitor<'_> {
    type Value = ();

    only!("an object");
    no_list!("an object");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut members = Members::new(self.reader, self.message, self.depth);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            members.read(&key, FromMap(&mut map))?;
        }
        Ok(())
    }
}

/// The members of an object.
pub(super) struct Members<'a> {
    reader: &'a Reader<'a>,
    message: &'a mut DynamicMessage,
    desc: MessageDescriptor,
    depth: usize,
    /// The numbers of the fields that were read.
    seen: BTreeSet<u32>,
}

impl<'a> Members<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        message: &'a mut DynamicMessage,
        depth: usize,
    ) -> Self {
        let desc = message.descriptor();
        Self {
            reader,
            message,
            desc,
            depth,
            seen: BTreeSet::new(),
        }
    }

    /// Reads a member into its field.
    ///
    /// # Errors
    /// Fails if the field is unknown, was read before, or if the value does not fit.
    pub(super) fn read<'de, S: Source<'de>>(&mut self, key: &str, from: S) -> Result<(), S::Error> {
        let Some(field) = AnyField::find(&self.desc, key) else {
            return self.unknown(key, from);
        };
        let failure = &self.reader.failure;
        if !self.seen.insert(field.number()) {
            return Err(failure.at(Step::Field(key), failure.set("the field is given twice")));
        }
        let seed = FieldSeed {
            reader: self.reader,
            field: &field,
            depth: self.depth,
        };
        let value = from
            .read(seed)
            .map_err(|error| failure.at(Step::Field(key), error))?;
        let Some(value) = value else {
            return Ok(());
        };
        if let Some(oneof) = field.oneof()
            && let Some(other) = oneof.fields().find(|other| self.message.has_field(other))
        {
            let reason: S::Error = failure.set(format!(
                "`{}` is given as well, but only one field of the oneof `{}` can be",
                other.json_name(),
                oneof.name()
            ));
            return Err(failure.at(Step::Field(key), reason));
        }
        field.set(self.message, value);
        Ok(())
    }

    fn unknown<'de, S: Source<'de>>(&self, key: &str, from: S) -> Result<(), S::Error> {
        if self.reader.options.ignore_unknown_fields {
            return from.read(std::marker::PhantomData::<IgnoredAny>).map(drop);
        }
        let failure = &self.reader.failure;
        let reason = format!(
            "`{}` has no such field{}",
            self.desc.full_name(),
            self.similar(key)
        );
        Err(failure.at(Step::Field(key), failure.set(reason)))
    }

    /// Suggests a field whose name differs only in case or underscores, or lists a few fields.
    fn similar(&self, key: &str) -> String {
        const FEW: usize = 8;
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let wanted = plain(&escape(key));
        if let Some(field) = self
            .desc
            .fields()
            .find(|field| plain(field.name()) == wanted || plain(field.json_name()) == wanted)
        {
            return format!(": did you mean `{}`?", field.json_name());
        }
        let mut names: Vec<String> = self
            .desc
            .fields()
            .take(FEW)
            .map(|field| format!("`{}`", field.json_name()))
            .collect();
        if self.desc.fields().len() > FEW {
            names.push("...".to_owned());
        }
        if names.is_empty() {
            ": it has no fields".to_owned()
        } else {
            format!(": it has {}", names.join(", "))
        }
    }
}
