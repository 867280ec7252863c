//! The server, which makes a service of an implementation.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Item, Rpc, Target, docs};

pub(super) fn emit(item: &Item<'_>, target: &Target) -> TokenStream {
    let runtime = &target.runtime;
    let Item {
        name,
        server,
        spec,
        handler,
        ..
    } = item;
    let about = docs(&[format!("Serves an implementation of `{name}`.")]);
    let new = docs(&["Makes a service of an implementation, to be added to a server."]);
    let from_arc = docs(&["Makes a service of an implementation that is shared with other code."]);
    let deprecated = item.deprecated();
    let allow = item.allow(quote!(clippy::new_ret_no_self));
    let methods = item
        .methods
        .iter()
        .map(|Rpc { name, kind, .. }| quote!(.#kind(#handler::#name)));
    quote! {
        #about
        #deprecated
        #[derive(Clone, Copy, Debug)]
        pub struct #server;
        #allow
        impl #server {
            #new
            pub fn new<#handler: #name>(handler: #handler) -> #runtime::server::Service {
                Self::from_arc(::std::sync::Arc::new(handler))
            }
            #from_arc
            pub fn from_arc<#handler: #name>(handler: ::std::sync::Arc<#handler>) -> #runtime::server::Service {
                #runtime::codegen::v1::ServiceBuilder::new(&#spec, handler)
                    #(#methods)*
                    .build()
            }
        }
    }
}
