//! Emits the Rust code of a service, with one function for each generated item.
//!
//! Generated code contains names, types, constants, the user's comments and one delegating call per
//! method. All logic is in the runtime, where bugs can be fixed. The code names only the runtime
//! and `core`, with absolute paths and without `use`, because the user's messages may be called
//! `Option`, `Result` or `Send`.

mod client;
mod server;
mod service_trait;
mod spec;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, Ident, Type};

use crate::error::Error;
use crate::model::{Method, MethodKind, Service};
use crate::schema::Schema;
use crate::service_attributes::ServiceAttributes;

/// The settings that all services of a build share.
pub(crate) struct Target {
    /// The path of the runtime's items for generated code, such as `::nmfw::codegen::v1`.
    pub(crate) runtime: syn::Path,
    /// The attribute that suppresses lints on an item.
    pub(crate) allow: Attribute,
    pub(crate) client: bool,
    pub(crate) server: bool,
    pub(crate) default_stubs: bool,
    pub(crate) client_attributes: ServiceAttributes,
    pub(crate) server_attributes: ServiceAttributes,
    pub(crate) trait_attributes: ServiceAttributes,
}

/// A service with the Rust types that prost-build generates for its messages.
pub(crate) struct ServiceItem<'a> {
    service: &'a Service,
    schema: Option<&'a Schema>,
    name: Ident,
    server: Ident,
    client: Ident,
    spec: Ident,
    /// The type parameter of an implementation; its name must differ from that of the trait.
    handler: Ident,
    methods: Vec<Rpc<'a>>,
}

struct Rpc<'a> {
    method: &'a Method,
    name: Ident,
    /// The constant of the server and the client that holds the method.
    constant: Ident,
    /// The runtime's name for methods of this kind, in the facts, the server and the client.
    kind: Ident,
    input: Type,
    output: Type,
}

impl Rpc<'_> {
    /// Returns the argument of the trait's method and its type.
    fn argument(&self, target: &Target) -> (Ident, TokenStream) {
        let Target { runtime, .. } = target;
        let input = &self.input;
        if self.method.kind.streams_requests {
            (
                format_ident!("requests"),
                quote!(#runtime::Streaming<#input>),
            )
        } else {
            (format_ident!("request"), quote!(#input))
        }
    }

    /// Returns the success type of the trait's method.
    fn response(&self, target: &Target) -> TokenStream {
        let Target { runtime, .. } = target;
        let output = &self.output;
        if self.method.kind.streams_responses {
            // The stream does not borrow from the implementation, because it outlives the call that
            // created it.
            quote!(impl #runtime::Stream<Item = #runtime::Result<#output>> + ::core::marker::Send + 'static)
        } else {
            quote!(#output)
        }
    }
}

impl<'a> ServiceItem<'a> {
    /// Pairs the model of a service with prost-build's.
    ///
    /// # Errors
    /// Fails if a name or type is not valid Rust, which checks of the model and of extern paths
    /// should have found before.
    pub(crate) fn new(
        service: &'a Service,
        prost: &'a prost_build::Service,
        schema: Option<&'a Schema>,
    ) -> Result<Self, Error> {
        let methods = service
            .methods
            .iter()
            .zip(&prost.methods)
            .map(|(method, prost)| {
                Ok(Rpc {
                    method,
                    name: ident(&method.rust_name)?,
                    constant: ident(&method.constant)?,
                    kind: Ident::new(kind_name(method.kind), Span::call_site()),
                    input: rust_type(&prost.input_type)?,
                    output: rust_type(&prost.output_type)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        let names = &service.names;
        Ok(Self {
            service,
            schema,
            name: ident(&names.service)?,
            server: ident(&names.server)?,
            client: ident(&names.client)?,
            spec: ident(&names.spec)?,
            handler: Ident::new(
                if names.service == "T" { "H" } else { "T" },
                Span::call_site(),
            ),
            methods,
        })
    }

    fn deprecated(&self) -> TokenStream {
        deprecated(self.service.deprecated)
    }

    /// Emits the constants that name the methods, for the server or for the client.
    fn constants(&self, target: &Target) -> impl Iterator<Item = TokenStream> {
        let Target { runtime, .. } = target;
        let spec = &self.spec;
        self.methods.iter().map(move |rpc| {
            let constant = &rpc.constant;
            let name = &rpc.method.proto_name;
            quote!(pub const #constant: #runtime::Method = #spec.method_named(#name);)
        })
    }
}

/// Emits the code of a service.
///
/// # Errors
/// Fails if the code does not parse, which is a bug or due to an unusual extern path.
pub(crate) fn service(item: &ServiceItem<'_>, target: &Target) -> Result<String, Error> {
    let mut code = spec::emit(item, target);
    code.extend(service_trait::emit(item, target));
    if target.server {
        code.extend(server::emit(item, target));
    }
    if target.client {
        code.extend(client::emit(item, target));
    }
    let file = syn::parse2(code).map_err(|error| {
        Error::generate(format!(
            "the code of the service `{}` does not parse: {error}",
            item.service.full_name
        ))
    })?;
    Ok(prettyplease::unparse(&file))
}

fn kind_name(kind: MethodKind) -> &'static str {
    match (kind.streams_requests, kind.streams_responses) {
        (false, false) => "unary",
        (false, true) => "server_streaming",
        (true, false) => "client_streaming",
        (true, true) => "streaming",
    }
}

fn ident(name: &str) -> Result<Ident, Error> {
    syn::parse_str(name).map_err(|_| Error::generate(format!("`{name}` is not a valid Rust name")))
}

fn rust_type(name: &str) -> Result<Type, Error> {
    syn::parse_str(name).map_err(|_| {
        Error::generate(format!(
            "`{name}` is not a valid Rust type: check the extern \
                                              paths"
        ))
    })
}

fn deprecated(yes: bool) -> TokenStream {
    if yes {
        quote!(#[deprecated])
    } else {
        TokenStream::new()
    }
}

/// Returns comments as doc attributes, one per line.
fn docs<S: AsRef<str>>(lines: &[S]) -> TokenStream {
    let lines = lines.iter().map(|line| match line.as_ref() {
        "" => String::new(),
        line => format!(" {line}"),
    });
    quote!(#(#[doc = #lines])*)
}
