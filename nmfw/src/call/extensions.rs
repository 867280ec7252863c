//! [`Extensions`]: values that middleware leaves for handlers, found by type.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
    sync::Arc,
};

/// Values of a call, one for each type. Middleware puts them in, handlers read them.
///
/// ```
/// struct User(String);
///
/// let mut extensions = nmfw::middleware::Extensions::default();
/// extensions.insert(User("ann".to_owned()));
/// assert_eq!(extensions.get::<User>().unwrap().0, "ann");
/// assert!(extensions.get::<u32>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Extensions {
    // Most calls have none: no allocation then.
    values: Option<Box<Values>>,
}

type Values = HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>;

impl Extensions {
    /// Puts a value in, in place of one of the same type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.values
            .get_or_insert_default()
            .insert(TypeId::of::<T>(), (type_name::<T>(), Arc::new(value)));
    }

    /// The value of a type, if there is one.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let (_, value) = self.values.as_ref()?.get(&TypeId::of::<T>())?;
        value.downcast_ref()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().flat_map(|values| values.values());
        f.debug_set().entries(values.map(|(name, _)| name)).finish()
    }
}
