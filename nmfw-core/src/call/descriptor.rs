//! Specs of services that are known at run time only, from their descriptors.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prost_types::{
    FileDescriptorSet, MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
    method_options::IdempotencyLevel,
};

use super::spec::{MethodSpec, ServiceSpec};

type Specs = HashMap<(String, Vec<u8>), &'static ServiceSpec>;

/// All specs that were created, because they are never freed.
static SPECS: Mutex<Option<Specs>> = Mutex::new(None);

impl ServiceSpec {
    /// Returns the spec of a service in a descriptor set, by its full name, for example `calc.Calc`: for
    /// gateways and tools, which have no generated code. [`find_method`](Self::find_method) returns its
    /// methods.
    ///
    /// A spec is never freed, and equal descriptors share one: descriptor sets must come from the
    /// program's operator, not from its callers. Options of `nmfw/options.proto` are not read; the
    /// name and the subject are the defaults.
    ///
    /// ```
    /// use nmfw::{Channel, ServiceSpec, Status, middleware::{Body, Request, Response}};
    /// # use nmfw::prost_types::FileDescriptorSet;
    ///
    /// async fn forward(channel: &Channel, set: &FileDescriptorSet, body: Body) -> Result<Response, Status> {
    ///     let service = ServiceSpec::from_descriptors(set, "calc.Calc");
    ///     let method = service.and_then(|service| service.find_method("Add"));
    ///     let method = method.ok_or_else(|| Status::not_found("no such method"))?;
    ///     channel.call(Request::new(method, body)).await
    /// }
    /// ```
    #[must_use]
    pub fn from_descriptors(set: &FileDescriptorSet, full_name: &str) -> Option<&'static Self> {
        let (package, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
        let service = set
            .file
            .iter()
            .filter(|file| file.package() == package)
            .flat_map(|file| &file.service)
            .find(|service| service.name() == name)?;
        let key = (full_name.to_owned(), prost::Message::encode_to_vec(service));
        let mut specs = SPECS.lock().unwrap_or_else(PoisonError::into_inner);
        let specs = specs.get_or_insert_default();
        Some(specs.entry(key).or_insert_with(|| create(package, service)))
    }
}

fn create(package: &str, service: &ServiceDescriptorProto) -> &'static ServiceSpec {
    let methods: Vec<_> = service.method.iter().map(method).collect();
    let lower = service.name().to_lowercase();
    let subject = match package.rsplit('.').next() {
        Some("") | None => format!("nmfw.{lower}"),
        Some(last) if last == lower => format!("nmfw.{package}"),
        Some(_) => format!("nmfw.{package}.{lower}"),
    };
    let name = subject["nmfw.".len()..].replace('.', "-");
    let spec = ServiceSpec::new(leak(package), leak(service.name()))
        .with_name(leak(&name))
        .with_subject(leak(&subject))
        .with_methods(methods.leak());
    Box::leak(Box::new(spec))
}

fn method(method: &MethodDescriptorProto) -> MethodSpec {
    let name = leak(method.name());
    let spec = match (method.client_streaming(), method.server_streaming()) {
        (false, false) => MethodSpec::unary(name),
        (false, true) => MethodSpec::server_streaming(name),
        (true, false) => MethodSpec::client_streaming(name),
        (true, true) => MethodSpec::streaming(name),
    };
    let options = method.options.as_ref();
    match options.map(MethodOptions::idempotency_level) {
        Some(IdempotencyLevel::Idempotent) => spec.idempotent(),
        Some(IdempotencyLevel::NoSideEffects) => spec.no_side_effects(),
        Some(IdempotencyLevel::IdempotencyUnknown) | None => spec,
    }
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorProto;

    use super::*;
    use crate::Idempotency;

    fn set(package: &str) -> FileDescriptorSet {
        let chat = MethodDescriptorProto {
            name: Some("Chat".to_owned()),
            client_streaming: Some(true),
            server_streaming: Some(true),
            ..MethodDescriptorProto::default()
        };
        let mut options = MethodOptions::default();
        options.set_idempotency_level(IdempotencyLevel::NoSideEffects);
        let look = MethodDescriptorProto {
            name: Some("Look".to_owned()),
            options: Some(options),
            ..MethodDescriptorProto::default()
        };
        FileDescriptorSet {
            file: vec![FileDescriptorProto {
                package: Some(package.to_owned()),
                service: vec![ServiceDescriptorProto {
                    name: Some("Shop".to_owned()),
                    method: vec![chat, look],
                    options: None,
                }],
                ..FileDescriptorProto::default()
            }],
        }
    }

    #[test]
    fn methods_are_found_by_name() {
        let set = set("acme");
        let spec = ServiceSpec::from_descriptors(&set, "acme.Shop").unwrap();
        let chat = spec.find_method("Chat").unwrap();
        assert!(chat.is_client_streaming() && chat.is_server_streaming());
        assert_eq!(chat.full_name(), "acme.Shop.Chat");
        let look = spec.find_method("Look").unwrap();
        assert_eq!(look.idempotency(), Idempotency::NoSideEffects);
        assert!(!look.is_streaming());
        assert!(spec.find_method("look").is_none());
        assert!(ServiceSpec::from_descriptors(&set, "acme.Stop").is_none());
        assert!(ServiceSpec::from_descriptors(&set, "Shop").is_none());
    }

    #[test]
    fn equal_descriptors_share_a_spec() {
        let first = ServiceSpec::from_descriptors(&set("acme"), "acme.Shop").unwrap();
        let second = ServiceSpec::from_descriptors(&set("acme"), "acme.Shop").unwrap();
        assert!(std::ptr::eq(first, second));
    }

    #[test]
    fn names_and_subjects_are_the_defaults_of_generated_code() {
        for (package, name, subject) in [
            ("", "shop", "nmfw.shop"),
            ("shop", "shop", "nmfw.shop"),
            ("acme.shop", "acme-shop", "nmfw.acme.shop"),
            ("acme.v1", "acme-v1-shop", "nmfw.acme.v1.shop"),
        ] {
            let full_name = format!("{package}.Shop");
            let full_name = full_name.trim_start_matches('.');
            let spec = ServiceSpec::from_descriptors(&set(package), full_name).unwrap();
            assert_eq!(spec.discovery_name(), name, "{package}");
            assert_eq!(spec.base_subject(), subject, "{package}");
        }
    }
}
