//! [`Methods`]: the methods that a layer applies to.

use std::sync::Arc;

use futures_util::FutureExt;
use tower::{ServiceExt, service_fn};

use super::BoxService;
use crate::{
    Method, MethodName, ServiceSpec, Status,
    call::{per_method::PerMethod, request::Request},
};

/// The methods that a layer applies to: all, or those with given names, with or without the
/// service's name.
///
/// A layer is configured before its services are known, so names are checked when a service is
/// first called; while a name is wrong, all calls of that service fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods(Option<Arc<Named>>);

#[derive(Debug)]
struct Named {
    /// The name of the layer's type.
    layer: &'static str,
    names: Box<[MethodName]>,
    verdicts: PerMethod<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Included,
    Excluded,
    /// A name does not belong to the service.
    Wrong,
}

impl Methods {
    pub(crate) fn named<M: Into<MethodName>>(
        layer: &'static str,
        names: impl IntoIterator<Item = M>,
    ) -> Self {
        Self(Some(Arc::new(Named {
            layer,
            names: names.into_iter().map(Into::into).collect(),
            verdicts: PerMethod::default(),
        })))
    }

    /// Returns whether the layer applies to a method.
    ///
    /// # Errors
    /// Fails if a name is wrong: the method's service has no such method, or the list of names is
    /// empty.
    pub(crate) fn include(&self, method: Method) -> Result<bool, Status> {
        let Some(named) = &self.0 else {
            return Ok(true);
        };
        match named.verdicts.get(method, |method| named.verdict(method)) {
            Verdict::Included => Ok(true),
            Verdict::Excluded => Ok(false),
            Verdict::Wrong => Err(named.wrong(method.service())),
        }
    }

    /// Makes calls fail while a name is wrong, for a layer that cannot return the error itself.
    pub(crate) fn checked(&self, inner: BoxService) -> BoxService {
        if self.0.is_none() {
            return inner;
        }
        let methods = self.clone();
        BoxService::new(service_fn(move |request: Request| {
            let checked = methods.include(request.method());
            let call = checked.map(|_| inner.clone());
            async move { call?.oneshot(request).await }.boxed()
        }))
    }
}

impl Named {
    fn verdict(&self, method: Method) -> Verdict {
        let service = method.service();
        if self.names.is_empty() || self.unknown(service).is_some() {
            return Verdict::Wrong;
        }
        match self.names.iter().any(|name| name.is(method)) {
            true => Verdict::Included,
            false => Verdict::Excluded,
        }
    }

    /// Returns a text that is not the name of a method of the service. A constant may be a method of
    /// another service on the same channel; a text with such a name cannot be checked.
    fn unknown(&self, service: &'static ServiceSpec) -> Option<&MethodName> {
        let mut texts = self.names.iter().filter(|name| !name.is_constant());
        texts.find(|name| !service.methods().any(|method| name.is(method)))
    }

    fn wrong(&self, service: &'static ServiceSpec) -> Status {
        let Self { layer, .. } = self;
        let text = match self.unknown(service) {
            Some(name) => {
                let methods: Vec<_> = service.methods().map(Method::name).collect();
                format!(
                    "{layer}: there is no method {name:?}; {} has: {}. Use the generated constant \
                     for a method of another service",
                    service.proto_name(),
                    methods.join(", ")
                )
            }
            None => format!(
                "{layer}: methods() was called without a method: name one, or remove \
                             the call to include all methods"
            ),
        };
        // Not started: the layer passes no call on.
        Status::invalid_argument(text).not_started()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::method::tests::SPEC;

    static OTHER: ServiceSpec = ServiceSpec::new("calc", "Other")
        .with_methods(&[crate::MethodSpec::unary("A"), crate::MethodSpec::unary("B")]);

    fn include(names: &[&str], method: Method) -> Result<bool, String> {
        let included = Methods::named("SomeLayer", names.iter().copied()).include(method);
        included.map_err(|status| {
            assert_eq!(status.code(), crate::Code::InvalidArgument);
            assert!(status.is_not_started());
            status.message().to_owned()
        })
    }

    #[test]
    fn methods_have_either_name() {
        let add = SPEC.method(1);
        for (name, is_it) in [("Add", true), ("calc.Calc.Add", true), ("Average", false)] {
            assert_eq!(include(&[name], add), Ok(is_it), "{name}");
        }
        assert!(Methods::default().include(add).unwrap());
        let method = Methods::named("SomeLayer", [add]).include(add);
        assert!(method.unwrap());
    }

    #[test]
    fn names_that_cannot_be_meant_are_errors() {
        let (add, a) = (SPEC.method(1), OTHER.method(0));
        for names in [
            &["Ad"][..],
            &["Average", "calc.Calc.add"],
            &["Add", "calc.Clac.Add"],
            &["calc.Other.A"],
            &[""],
        ] {
            // The error is returned for each method, on every call.
            for method in [add, SPEC.method(0), add] {
                let text = include(names, method).unwrap_err();
                let wrong = format!("{:?}", names[names.len() - 1]);
                assert!(text.contains(&wrong), "{text}");
                assert!(text.contains("SomeLayer"), "{text}");
                assert!(text.contains("calc.Calc has: Average, Add"), "{text}");
            }
        }
        assert!(include(&[], add).unwrap_err().contains("without a method"));
        // A channel may be shared by several services.
        let both = Methods::named("SomeLayer", [add, a]);
        assert!(both.include(add).unwrap());
        assert!(both.include(a).unwrap());
        assert!(!both.include(OTHER.method(1)).unwrap());
    }
}
