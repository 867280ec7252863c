//! Reads lists.

use prost_reflect::Value;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::ElementSeed;
use super::source::only;
use crate::json::error::Step;

/// Reads the elements of a repeated field.
///
/// # Errors
/// Fails if the value is not a list, or if an element does not fit.
pub(super) fn read<'de, D: Deserializer<'de>>(
    element: ElementSeed<'_>,
    from: D,
) -> Result<Value, D::Error> {
    from.deserialize_any(ListVisitor {
        reader: element.reader,
        element,
    })
}

struct ListVisitor<'a> {
    reader: &'a super::Reader<'a>,
    element: ElementSeed<'a>,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = Value;

    only!("a list");

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.reader.unexpected("a list", "an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let mut index = 0;
        while let Some(value) = list
            .next_element_seed(self.element)
            .map_err(|error| self.reader.failure.at(Step::Index(index), error))?
        {
            values.extend(value);
            index += 1;
        }
        Ok(Value::List(values))
    }
}
