//! [`PerMethod`]: what is worked out once for each method of a service.

use std::{ptr, sync::OnceLock};

use crate::{Method, ServiceSpec};

/// A value for each method. It is of the service that is asked for first, and nearly always the only
/// one; for others a value is made each time.
#[derive(Clone, Debug)]
pub(super) struct PerMethod<T>(OnceLock<(&'static ServiceSpec, Box<[T]>)>);

// A derived one would want one of `T`.
impl<T> Default for PerMethod<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Clone> PerMethod<T> {
    pub(super) fn get(&self, method: Method, make: impl Fn(Method) -> T) -> T {
        let service = method.service();
        let (known, values) = self
            .0
            .get_or_init(|| (service, service.all_methods().map(&make).collect()));
        match values.get(method.index()) {
            Some(value) if ptr::eq(*known, service) => value.clone(),
            _ => make(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::SPEC;

    static OTHER: ServiceSpec = ServiceSpec::new("calc", "Other")
        .methods(&[crate::MethodSpec::unary("A"), crate::MethodSpec::unary("B")]);

    #[test]
    fn each_service_has_its_own() {
        let names = PerMethod::default();
        for spec in [&SPEC, &OTHER, &SPEC] {
            for method in spec.all_methods() {
                assert_eq!(names.get(method, Method::name), method.name());
            }
        }
    }
}
