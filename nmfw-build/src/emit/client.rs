//! The client, and its implementation of the service's trait.

use std::fmt::Write;

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{Item, Rpc, Target, deprecated, docs};
use crate::model::MethodKind;

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
        (
            quote!(requests),
            quote!(impl #runtime::client::Requests<#input>),
        )
    } else {
        (quote!(request), quote!(#input))
    };
    let answer = if streams_responses {
        quote!(#runtime::Streaming<#output>)
    } else {
        quote!(#output)
    };
    let spec = &item.spec;
    let index = Literal::usize_unsuffixed(index);
    quote! {
        #docs
        #deprecated
        pub fn #name(&self, #argument: #argument_type) -> #runtime::client::Call<#answer> {
            self.0.#kind(#spec.method(#index), #argument)
        }
    }
}

/// The call of the macro that implements the trait for the client.
///
/// It is written as text, since prettyplease does not lay out what is inside a macro.
pub(super) fn forward(item: &Item<'_>, target: &Target) -> String {
    let runtime = target.runtime_text();
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
        method,
        name,
        text: (input, output),
        ..
    } in &item.methods
    {
        let input = forwarded(input, method.kind.streams_requests);
        let output = forwarded(output, method.kind.streams_responses);
        // Writing to a string does not fail.
        let _ = writeln!(text, "        {name}({input}) -> ({output});");
    }
    text.push_str("    }\n}\n");
    text
}

/// A type as the macro reads it: with the word `stream` in front if there are many of it.
fn forwarded(name: &str, streams: bool) -> String {
    let word = if streams { "stream " } else { "" };
    // What is nested in a message `Stream` is in the module `stream`. Raw, it is not taken for the word.
    let raw = name.split("::").next() == Some("stream");
    format!("{word}{}{name}", if raw { "r#" } else { "" })
}
