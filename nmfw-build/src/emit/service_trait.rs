//! Emits the trait that a service implementation, and the client, implement.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Ident;

use super::{Rpc, ServiceItem, Target, deprecated, docs};

pub(super) fn emit(item: &ServiceItem<'_>, target: &Target) -> TokenStream {
    let allow = &target.allow;
    let docs = docs(&item.service.docs);
    let deprecated = item.deprecated();
    let name = &item.name;
    let attributes = target.trait_attributes.of(&item.service.full_name);
    let spec = &item.spec;
    let methods = item.methods.iter().map(|rpc| method(rpc, spec, target));
    quote! {
        #docs
        #deprecated
        #(#attributes)*
        #allow
        pub trait #name: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

fn method(rpc: &Rpc<'_>, spec: &Ident, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let docs = docs(&rpc.method.docs);
    let deprecated = deprecated(rpc.method.deprecated);
    let name = &rpc.name;
    let (argument, argument_type) = rpc.argument(target);
    let response = rpc.response(target);
    let body = match target.default_stubs {
        true => stub(rpc, spec, target),
        false => quote!(;),
    };
    quote! {
        #docs
        #deprecated
        fn #name(
            &self,
            ctx: #runtime::Context,
            #argument: #argument_type,
        ) -> impl ::core::future::Future<Output = #runtime::Result<#response>> + ::core::marker::Send
        #body
    }
}

/// Emits the default implementation of a method. A stream of responses needs a type, although it
/// is never made.
fn stub(rpc: &Rpc<'_>, spec: &Ident, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let (argument, _) = rpc.argument(target);
    let (name, output) = (&rpc.method.proto_name, &rpc.output);
    let response = match rpc.method.kind.streams_responses {
        true => quote!(#runtime::Streaming<#output>),
        false => quote!(#output),
    };
    quote!({
        _ = (ctx, #argument);
        async { #runtime::unimplemented::<#response>(#spec.method_named(#name)) }
    })
}
