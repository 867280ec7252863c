//! Emits the client, and its implementation of the service's trait.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Rpc, ServiceItem, Target, deprecated, docs};
use crate::model::MethodKind;

pub(super) fn emit(item: &ServiceItem<'_>, target: &Target) -> TokenStream {
    let Target { runtime, allow, .. } = target;
    let ServiceItem {
        name,
        server,
        client,
        spec,
        handler,
        ..
    } = item;
    let about = docs(&[format!(
        "A client of the service `{name}`. Clones are cheap."
    )]);
    let new = docs(&["Creates a client on a channel, for example on a NATS connection."]);
    let wait_ready = docs(&[
        "Waits until an instance of the service answers.",
        "",
        "# Errors",
        "Fails if no instance answers within the timeout.",
    ]);
    let deprecated = item.deprecated();
    let full_name = &item.service.full_name;
    let attributes = target.client_attributes.of(full_name);
    let conditions: Vec<_> = target.client_attributes.conditions(full_name).collect();
    let local = target.server.then(|| {
        let conditions = target.server_attributes.conditions(full_name);
        let local = docs(&["Creates a client of an implementation in this process, without NATS."]);
        quote! {
            #local
            #(#conditions)*
            pub fn local<#handler: #name>(handler: #handler) -> Self {
                Self(#runtime::Client::local(#server::new(handler)))
            }
        }
    });
    let constants = item.constants(target);
    let methods = item.methods.iter().map(|rpc| method(rpc, target));
    let forwards = item.methods.iter().map(|rpc| forward(rpc, target));
    quote! {
        #about
        #deprecated
        #(#attributes)*
        #[derive(Clone, Debug)]
        #allow
        pub struct #client(#runtime::Client);
        #(#conditions)*
        #allow
        impl #client {
            #(#constants)*
            #new
            pub fn new(channel: impl ::core::convert::Into<#runtime::Channel>) -> Self {
                Self(#runtime::Client::new(channel))
            }
            #local
            #wait_ready
            pub async fn wait_ready(&self, timeout: ::core::time::Duration) -> #runtime::Result<()> {
                self.0.wait_ready(&#spec, timeout).await
            }
            #(#methods)*
        }
        #(#conditions)*
        #allow
        impl #name for #client {
            #(#forwards)*
        }
    }
}

/// Emits the client's own method, which returns a call.
fn method(rpc: &Rpc<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let docs = docs(&rpc.method.docs);
    let deprecated = deprecated(rpc.method.deprecated);
    let Rpc {
        name,
        constant,
        kind,
        input,
        output,
        ..
    } = rpc;
    let MethodKind {
        streams_requests,
        streams_responses,
    } = rpc.method.kind;
    let (argument, argument_type) = if streams_requests {
        (quote!(requests), quote!(impl #runtime::Requests<#input>))
    } else {
        (quote!(request), quote!(#input))
    };
    let answer = if streams_responses {
        quote!(#runtime::Streaming<#output>)
    } else {
        quote!(#output)
    };
    quote! {
        #docs
        #deprecated
        pub fn #name(&self, #argument: #argument_type) -> #runtime::Call<#answer> {
            self.0.#kind(Self::#constant, #argument)
        }
    }
}

/// Emits the trait's method, which forwards to the client's own method: rustc prefers inherent
/// methods.
fn forward(rpc: &Rpc<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let name = &rpc.name;
    let (argument, argument_type) = rpc.argument(target);
    let response = rpc.response(target);
    quote! {
        async fn #name(&self, ctx: #runtime::Context, #argument: #argument_type) -> #runtime::Result<#response> {
            self.#name(#argument).context(&ctx).await
        }
    }
}
