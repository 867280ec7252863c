//! The client, and its implementation of the service's trait.

use std::fmt::Write;

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote};

use super::{Item, Rpc, Target, deprecated, docs};

pub(super) fn emit(item: &Item<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let Item {
        name,
        server,
        client,
        spec,
        handler,
        ..
    } = item;
    let about = docs(&[format!("Calls a service `{name}`. Cheap to clone.")]);
    let new = docs(&["Makes a client that calls over a channel, such as a NATS connection."]);
    let wait_ready = docs(&[
        "Waits until an instance of the service answers.",
        "",
        "# Errors",
        "None answered within the time-out.",
    ]);
    let deprecated = item.deprecated();
    let allow = item.allow(item.method_name_lints());
    let local = target.server.then(|| {
        let local =
            docs(&["Makes a client that calls an implementation in this process, without NATS."]);
        quote! {
            #local
            pub fn local<#handler: #name>(handler: #handler) -> Self {
                Self(#runtime::Channel::local(#server::new(handler)))
            }
        }
    });
    let methods = item
        .methods
        .iter()
        .enumerate()
        .map(|(index, rpc)| method(rpc, index, item, target));
    quote! {
        #about
        #deprecated
        #[derive(Clone, Debug)]
        pub struct #client(#runtime::Channel);
        #allow
        impl #client {
            #new
            pub fn new(channel: impl ::core::convert::Into<#runtime::Channel>) -> Self {
                Self(channel.into())
            }
            #local
            #wait_ready
            pub async fn wait_ready(&self, timeout: ::core::time::Duration) -> #runtime::Result<()> {
                self.0.wait_ready(&#spec, timeout).await
            }
            #(#methods)*
        }
    }
}

fn method(rpc: &Rpc<'_>, index: usize, item: &Item<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let docs = docs(&rpc.method.docs);
    let deprecated = deprecated(rpc.method.deprecated);
    let Rpc {
        name,
        input,
        output,
        ..
    } = rpc;
    let spec = &item.spec;
    let index = Literal::usize_unsuffixed(index);
    quote! {
        #docs
        #deprecated
        pub fn #name(&self, request: #input) -> #runtime::client::Call<#output> {
            self.0.unary(#spec.method(#index), request)
        }
    }
}

/// The call of the macro that implements the trait for the client.
///
/// It is written as text, since prettyplease does not lay out what is inside a macro.
pub(super) fn forward(item: &Item<'_>, target: &Target) -> String {
    let runtime = target
        .runtime
        .to_token_stream()
        .to_string()
        .replace(' ', "");
    let mut text = format!(
        "{runtime}::codegen::v1::forward! {{\n    impl {} for {} {{",
        item.name, item.client
    );
    if item.methods.is_empty() {
        text.push_str("}\n}\n");
        return text;
    }
    text.push('\n');
    for Rpc {
        name,
        text: (input, output),
        ..
    } in &item.methods
    {
        // Writing to a string does not fail.
        let _ = writeln!(text, "        {name}({input}) -> {output};");
    }
    text.push_str("    }\n}\n");
    text
}
