//! [`Extensions`]: values that middleware passes to handlers, indexed by type.

use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// Values of a call, one per type. Middleware inserts them, and handlers read them.
///
/// ```
/// struct User(String);
///
/// let mut extensions = nmfw::middleware::Extensions::new();
/// extensions.insert(User("ann".to_owned()));
/// assert_eq!(extensions.get::<User>().unwrap().0, "ann");
/// assert!(extensions.get::<u32>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Extensions {
    // Most calls have no values, and most others a single one, which needs no map.
    first: Option<Value>,
    others: BTreeMap<TypeId, Value>,
}

#[derive(Clone)]
struct Value {
    id: TypeId,
    name: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl Extensions {
    /// Creates an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            others: BTreeMap::new(),
        }
    }

    /// Inserts a value, replacing any of the same type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let value = Value {
            id: TypeId::of::<T>(),
            name: type_name::<T>(),
            value: Arc::new(value),
        };
        // Replacing a value must not move it to `first`.
        if let Some(other) = self.others.get_mut(&value.id) {
            *other = value;
            return;
        }
        match &mut self.first {
            Some(first) if first.id != value.id => {
                self.others.insert(value.id, value);
            }
            first => *first = Some(value),
        }
    }

    /// Returns the value of a type, if there is one.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.find(TypeId::of::<T>())?.value.downcast_ref()
    }

    /// Returns a shared handle to the value of a type, if there is one.
    #[must_use]
    pub fn get_shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = &self.find(TypeId::of::<T>())?.value;
        Arc::clone(value).downcast().ok()
    }

    /// Removes and returns the value of a type. Clones of the request may share it.
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let removed = match self.first.take_if(|first| first.id == id) {
            None => self.others.remove(&id),
            first => first,
        };
        removed?.value.downcast().ok()
    }

    /// Returns whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    fn find(&self, id: TypeId) -> Option<&Value> {
        match &self.first {
            Some(first) if first.id == id => Some(first),
            _ => self.others.get(&id),
        }
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.first.iter().chain(self.others.values());
        f.debug_set()
            .entries(values.map(|value| value.name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_one_value_of_each_type() {
        let mut extensions = Extensions::default();
        assert!(extensions.is_empty());
        extensions.insert(1_u8);
        extensions.insert("a");
        extensions.insert(2_u8);
        extensions.insert("b");
        assert_eq!(extensions.get::<u8>(), Some(&2));
        assert_eq!(extensions.get::<&str>(), Some(&"b"));
        assert_eq!(extensions.remove::<u8>().as_deref(), Some(&2));
        assert_eq!(extensions.remove::<u8>(), None);
        extensions.insert("c");
        assert_eq!(extensions.get_shared::<&str>().as_deref(), Some(&"c"));
        assert_eq!(extensions.remove::<&str>().as_deref(), Some(&"c"));
        assert!(extensions.is_empty());
    }
}
