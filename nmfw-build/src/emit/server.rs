//! Emits the server, which makes a service from an implementation.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Rpc, ServiceItem, Target, docs};

pub(super) fn emit(item: &ServiceItem<'_>, target: &Target) -> TokenStream {
    let Target { runtime, allow, .. } = target;
    let ServiceItem {
        name,
        server,
        spec,
        handler,
        ..
    } = item;
    let about = docs(&[format!(
        "Creates services from implementations of `{name}`."
    )]);
    let new = docs(&["Creates a service from an implementation, to add it to a server."]);
    let from_arc = docs(&[
        "Creates a service from an implementation that is shared with other \
                           code.",
    ]);
    let deprecated = item.deprecated();
    let full_name = &item.service.full_name;
    let attributes = target.server_attributes.of(full_name);
    let conditions = target.server_attributes.conditions(full_name);
    let constants = item.constants(target);
    let handlers = item.methods.iter().map(
        |Rpc {
             name,
             constant,
             kind,
             ..
         }| quote!(.#kind(Self::#constant, #handler::#name)),
    );
    quote! {
        #about
        #deprecated
        #(#attributes)*
        #[derive(Clone, Copy, Debug)]
        #allow
        pub struct #server;
        #(#conditions)*
        #allow
        impl #server {
            #(#constants)*
            #new
            pub fn new<#handler: #name>(handler: #handler) -> #runtime::Service {
                Self::from_arc(::std::sync::Arc::new(handler))
            }
            #from_arc
            pub fn from_arc<#handler: #name>(handler: ::std::sync::Arc<#handler>) -> #runtime::Service {
                #runtime::ServiceBuilder::new(&#spec, handler)
                    #(#handlers)*
                    .build()
            }
        }
    }
}
