//! Emits the trait that a service implementation, and the client, implement.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Rpc, ServiceItem, Target, deprecated, docs};

pub(super) fn emit(item: &ServiceItem<'_>, target: &Target) -> TokenStream {
    let allow = &target.allow;
    let docs = docs(&item.service.docs);
    let deprecated = item.deprecated();
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
    let name = &rpc.name;
    let (argument, argument_type) = rpc.argument(target);
    let response = rpc.response(target);
    quote! {
        #docs
        #deprecated
        fn #name(
            &self,
            ctx: #runtime::Context,
            #argument: #argument_type,
        ) -> impl ::core::future::Future<Output = #runtime::Result<#response>> + ::core::marker::Send;
    }
}
