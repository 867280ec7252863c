//! The static that holds the facts of a service.

use proc_macro2::{Literal, TokenStream};
use prost_types::method_options::IdempotencyLevel;
use quote::quote;

use super::{Item, Rpc, Target, docs};
use crate::options::{Common, QueueGroup};

pub(super) fn emit(item: &Item<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let service = item.service;
    let docs = docs(&[format!(
        "Static facts of the service `{}`.",
        service.full_name
    )]);
    let spec = &item.spec;
    let (package, proto_name) = (&service.package, &service.proto_name);
    let (name, subject, version) = (&service.discovery_name, &service.subject, &service.version);
    let description = service
        .description
        .iter()
        .map(|text| quote!(.description(#text)));
    let options = common(&service.options);
    let methods = item.methods.iter().map(|rpc| method(rpc, target));
    quote! {
        #docs
        pub static #spec: #runtime::codegen::v1::ServiceSpec = #runtime::codegen::v1::ServiceSpec::new(#package, #proto_name)
            .name(#name)
            .subject(#subject)
            .version(#version)
            #(#description)*
            #options
            .methods(&[#(#methods),*]);
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
    quote!(#runtime::codegen::v1::MethodSpec::#kind(#name) #idempotency #options #deprecated)
}

fn common(options: &Common) -> TokenStream {
    let timeout = options.timeout_ms.map(|ms| {
        let ms = Literal::u64_unsuffixed(ms);
        quote!(.timeout_ms(#ms))
    });
    let queue_group = options.queue_group.as_ref().map(|group| match group {
        QueueGroup::Named(name) => quote!(.queue_group(#name)),
        QueueGroup::None => quote!(.no_queue_group()),
    });
    let concurrency = options.concurrency.map(|limit| {
        let limit = Literal::u32_unsuffixed(limit);
        quote!(.concurrency(#limit))
    });
    let metadata = (!options.metadata.is_empty()).then(|| {
        let entries = options
            .metadata
            .iter()
            .map(|(key, value)| quote!((#key, #value)));
        quote!(.metadata(&[#(#entries),*]))
    });
    quote!(#timeout #queue_group #concurrency #metadata)
}
