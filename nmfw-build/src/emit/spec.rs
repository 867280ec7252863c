//! Emits the static that describes a service.

use proc_macro2::{Literal, TokenStream};
use prost_types::method_options::IdempotencyLevel;
use quote::quote;

use super::{Rpc, ServiceItem, Target, docs};
use crate::options::{Common, QueueGroup};

pub(super) fn emit(item: &ServiceItem<'_>, target: &Target) -> TokenStream {
    let Target { runtime, allow, .. } = target;
    let service = item.service;
    let docs = docs(&[format!(
        "The description of the service `{}`: its names, options and methods.",
        service.full_name
    )]);
    let spec = &item.spec;
    let (package, proto_name) = (&service.package, &service.proto_name);
    let (name, subject, version) = (&service.discovery_name, &service.subject, &service.version);
    let description = service
        .description
        .iter()
        .map(|text| quote!(.with_description(#text)));
    let options = common(&service.options);
    let schema = item.schema.iter().map(|schema| {
        let (hash, file) = (&schema.hash, &schema.file);
        quote!(.with_schema(#hash, ::core::include_bytes!(#file)))
    });
    let methods = item.methods.iter().map(|rpc| method(rpc, target));
    quote! {
        #docs
        #allow
        pub static #spec: #runtime::ServiceSpec = #runtime::ServiceSpec::new(#package, #proto_name)
            .with_name(#name)
            .with_subject(#subject)
            .with_version(#version)
            #(#description)*
            #options
            #(#schema)*
            .with_methods(&[#(#methods),*]);
    }
}

fn method(rpc: &Rpc<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let Rpc { method, kind, .. } = rpc;
    let name = &method.proto_name;
    let idempotency = match method.idempotency {
        IdempotencyLevel::IdempotencyUnknown => TokenStream::new(),
        IdempotencyLevel::Idempotent => quote!(.idempotent()),
        IdempotencyLevel::NoSideEffects => quote!(.no_side_effects()),
    };
    let options = common(&method.options);
    let deprecated = method.deprecated.then(|| quote!(.deprecated()));
    quote!(#runtime::MethodSpec::#kind(#name) #idempotency #options #deprecated)
}

fn common(options: &Common) -> TokenStream {
    let timeout = options.timeout_ms.map(|ms| {
        let ms = Literal::u64_unsuffixed(ms);
        quote!(.with_timeout_ms(#ms))
    });
    let queue_group = options.queue_group.as_ref().map(|group| match group {
        QueueGroup::Named(name) => quote!(.with_queue_group(#name)),
        QueueGroup::None => quote!(.without_queue_group()),
    });
    let concurrency = options.concurrency.map(|limit| {
        let limit = Literal::u32_unsuffixed(limit);
        quote!(.with_concurrency(#limit))
    });
    let metadata = (!options.metadata.is_empty()).then(|| {
        let entries = options
            .metadata
            .iter()
            .map(|(key, value)| quote!((#key, #value)));
        quote!(.with_metadata(&[#(#entries),*]))
    });
    quote!(#timeout #queue_group #concurrency #metadata)
}
