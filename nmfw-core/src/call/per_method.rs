//! [`PerMethod`]: a value that is computed once per method of a service. `EachMethod`: mutable state per method.

use std::{
    collections::HashMap,
    ptr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use crate::{Method, ServiceSpec};

/// A value for each method of the first service that is used, which is usually the only one. For
/// other services, values are computed on each use.
#[derive(Clone, Debug)]
pub struct PerMethod<T>(OnceLock<(&'static ServiceSpec, Box<[T]>)>);

// Deriving it would require `T: Default`.
impl<T> Default for PerMethod<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Clone> PerMethod<T> {
    pub fn get(&self, method: Method, make: impl Fn(Method) -> T) -> T {
        let service = method.service();
        let (known, values) = self
            .0
            .get_or_init(|| (service, service.methods().map(&make).collect()));
        match values.get(method.index()) {
            Some(value) if ptr::eq(*known, service) => value.clone(),
            _ => make(method),
        }
    }
}

/// State for each method that was used, of any service. Methods are part of the program, so their
/// number is bounded.
#[derive(Debug)]
pub(crate) struct EachMethod<T>(RwLock<HashMap<(usize, usize), Arc<T>>>);

impl<T> Default for EachMethod<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> EachMethod<T> {
    pub(crate) fn get(&self, method: Method, make: impl FnOnce() -> T) -> Arc<T> {
        let id = method.id();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&id) {
            return Arc::clone(known);
        }
        drop(known);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(id).or_insert_with(|| Arc::new(make())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::method::tests::SPEC;

    static OTHER: ServiceSpec = ServiceSpec::new("calc", "Other")
        .with_methods(&[crate::MethodSpec::unary("A"), crate::MethodSpec::unary("B")]);

    #[test]
    fn each_service_has_its_own() {
        let names = PerMethod::default();
        for spec in [&SPEC, &OTHER, &SPEC] {
            for method in spec.methods() {
                assert_eq!(names.get(method, Method::name), method.name());
            }
        }
    }

    #[test]
    fn a_state_is_made_once_for_each_method() {
        let states = EachMethod::default();
        let first = states.get(SPEC.method(0), || 1);
        assert!(Arc::ptr_eq(&first, &states.get(SPEC.method(0), || 2)));
        assert_eq!(*states.get(SPEC.method(1), || 3), 3);
        assert_eq!(*states.get(OTHER.method(0), || 4), 4);
    }
}
