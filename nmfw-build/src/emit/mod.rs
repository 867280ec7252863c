//! Writes the Rust code of a service: one function for each generated item.
//!
//! Generated code holds names, types, constants, the user's comments and one delegating call a method, and nothing that
//! could have a bug: everything else is in the runtime. It names only the runtime and `core`, with absolute paths and
//! without `use`, since the user's messages may be called `Option`, `Result` or `Send`.

mod client;
mod layout;
mod server;
mod service_trait;
mod spec;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Ident, Type};

use crate::error::Error;
use crate::model::{Method, MethodKind, Service};

/// What to write besides the trait and the facts.
pub(crate) struct Target {
    /// The path of the runtime, such as `::nmfw`.
    pub(crate) runtime: syn::Path,
    pub(crate) client: bool,
    pub(crate) server: bool,
}

impl Target {
    /// The path of the runtime as text.
    pub(crate) fn runtime_text(&self) -> String {
        self.runtime.to_token_stream().to_string().replace(' ', "")
    }
}

/// A service with the Rust types that prost-build gives to its messages.
pub(crate) struct Item<'a> {
    service: &'a Service,
    name: Ident,
    server: Ident,
    client: Ident,
    spec: Ident,
    /// The type parameter for an implementation, which must not be the name of the trait.
    handler: Ident,
    methods: Vec<Rpc<'a>>,
}

struct Rpc<'a> {
    method: &'a Method,
    name: Ident,
    /// What the runtime calls methods of this kind, in the facts, in the server and in the channel alike.
    kind: Ident,
    input: Type,
    output: Type,
    /// The types as prost-build wrote them.
    text: (&'a str, &'a str),
}

impl<'a> Item<'a> {
    /// Pairs the model of a service with prost-build's.
    ///
    /// # Errors
    /// A name or type is no Rust, which checks of the model and of extern paths should have found before.
    pub(crate) fn new(
        service: &'a Service,
        prost: &'a prost_build::Service,
    ) -> Result<Self, Error> {
        let methods = service
            .methods
            .iter()
            .zip(&prost.methods)
            .map(|(method, prost)| {
                Ok(Rpc {
                    method,
                    name: ident(&method.rust_name)?,
                    kind: Ident::new(kind_name(method.kind), Span::call_site()),
                    input: rust_type(&prost.input_type)?,
                    output: rust_type(&prost.output_type)?,
                    text: (&prost.input_type, &prost.output_type),
                })
            })
            .collect::<Result<_, Error>>()?;
        let names = &service.names;
        Ok(Self {
            service,
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

    /// Lints that an impl block may set off.
    fn allow(&self, more: TokenStream) -> TokenStream {
        // A program may use the client or the server only, and not each of their methods.
        let mut lints = vec![quote!(dead_code)];
        if self.service.deprecated || self.methods.iter().any(|rpc| rpc.method.deprecated) {
            lints.push(quote!(deprecated));
        }
        lints.extend((!more.is_empty()).then_some(more));
        quote!(#[allow(#(#lints),*)])
    }

    /// Lints about names and shapes of methods, which are the `.proto`'s here.
    fn method_name_lints(&self) -> TokenStream {
        let prefixes = ["as_", "from_", "into_", "is_", "to_"];
        let conversion = |rpc: &Rpc<'_>| {
            prefixes
                .iter()
                .any(|prefix| rpc.method.rust_name.starts_with(prefix))
        };
        let mut lints = Vec::new();
        if self.methods.iter().any(conversion) {
            lints.push(quote!(clippy::wrong_self_convention));
        }
        if self.methods.iter().any(|rpc| rpc.method.rust_name == "cmp") {
            lints.push(quote!(clippy::should_implement_trait));
        }
        quote!(#(#lints),*)
    }
}

/// The code of a service.
///
/// # Errors
/// The code does not parse, which is a bug or comes of a strange extern path.
pub(crate) fn service(item: &Item<'_>, target: &Target) -> Result<String, Error> {
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
    let mut text = layout::compact(&prettyplease::unparse(&file));
    if target.client {
        text.push_str(&client::forward(item, target));
    }
    Ok(text)
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
    syn::parse_str(name).map_err(|_| Error::generate(format!("`{name}` is no Rust name")))
}

fn rust_type(name: &str) -> Result<Type, Error> {
    syn::parse_str(name)
        .map_err(|_| Error::generate(format!("`{name}` is no Rust type; check the extern paths")))
}

fn deprecated(yes: bool) -> TokenStream {
    if yes {
        quote!(#[deprecated])
    } else {
        TokenStream::new()
    }
}

/// Comments as doc attributes, one a line.
fn docs<S: AsRef<str>>(lines: &[S]) -> TokenStream {
    let lines = lines.iter().map(|line| match line.as_ref() {
        "" => String::new(),
        line => format!(" {line}"),
    });
    quote!(#(#[doc = #lines])*)
}
