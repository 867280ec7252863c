//! The trait that a service implementation implements, and the client too.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Item, Rpc, Target, deprecated, docs};

pub(super) fn emit(item: &Item<'_>, target: &Target) -> TokenStream {
    let docs = docs(&item.service.docs);
    let deprecated = item.deprecated();
    // A server uses the trait; a client alone only implements it, which does not count for rustc.
    let unused = (!target.server).then(|| quote!(dead_code));
    let names = Some(item.method_name_lints()).filter(|lints| !lints.is_empty());
    let lints: Vec<TokenStream> = unused.into_iter().chain(names).collect();
    let allow = (!lints.is_empty()).then(|| quote!(#[allow(#(#lints),*)]));
    let name = &item.name;
    let methods = item.methods.iter().map(|rpc| method(rpc, target));
    quote! {
        #docs
        #deprecated
        #allow
        pub trait #name: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

fn method(rpc: &Rpc<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let docs = docs(&rpc.method.docs);
    let deprecated = deprecated(rpc.method.deprecated);
    let Rpc {
        name,
        input,
        output,
        ..
    } = rpc;
    let kind = rpc.method.kind;
    let request = if kind.streams_requests {
        quote!(requests: #runtime::Streaming<#input>)
    } else {
        quote!(request: #input)
    };
    let response = if kind.streams_responses {
        // The stream borrows nothing of the implementation: it outlives the call that made it.
        quote!(impl #runtime::codegen::v1::Stream<Item = #runtime::Result<#output>> + ::core::marker::Send + 'static)
    } else {
        quote!(#output)
    };
    quote! {
        #docs
        #deprecated
        fn #name(
            &self,
            ctx: #runtime::Context,
            #request,
        ) -> impl ::core::future::Future<Output = #runtime::Result<#response>> + ::core::marker::Send;
    }
}
