//! The messages, enums and methods of a tree, as defined by descriptors and as found in generated
//! code.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The package whose messages come from prost-types and are not generated.
const WELL_KNOWN: &str = "google.protobuf";

#[derive(Debug, Default)]
pub struct Items {
    /// Full names.
    pub messages: BTreeSet<String>,
    /// Generated enums do not contain their full names, so they are only counted.
    pub enums: usize,
    /// Full names.
    pub services: BTreeSet<String>,
    /// `package.Service/Method (kind)`.
    pub methods: BTreeSet<String>,
}

impl Items {
    /// Returns the items that a descriptor set defines.
    pub fn of_set(set: &FileDescriptorSet) -> Self {
        let mut items = Self::default();
        for file in set.file.iter().filter(|file| file.package() != WELL_KNOWN) {
            items.enums += file.enum_type.len();
            for message in &file.message_type {
                items.add_message(file.package(), message);
            }
            for service in &file.service {
                let service_name = join(file.package(), service.name());
                items.methods.extend(service.method.iter().map(|method| {
                    let kind = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => "unary",
                        (false, true) => "server_streaming",
                        (true, false) => "client_streaming",
                        (true, true) => "streaming",
                    };
                    format!("{service_name}/{} ({kind})", method.name())
                }));
                items.services.insert(service_name);
            }
        }
        items
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        if message.options.as_ref().is_some_and(|it| it.map_entry()) {
            return;
        }
        let name = join(scope, message.name());
        self.enums += message.enum_type.len();
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        self.messages.insert(name);
    }

    /// Reads the items in a folder's Rust files.
    pub fn of_code(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut items = Self::default();
        for entry in fs::read_dir(folder)? {
            let code: TokenStream = fs::read_to_string(entry?.path())?.parse()?;
            let mut tokens = Vec::new();
            flatten(code, &mut tokens);
            items.add_code(&tokens);
        }
        Ok(items)
    }

    fn add_code(&mut self, tokens: &[String]) {
        // The current service, and the current method of a tonic client.
        let mut service = String::new();
        let mut method = None;
        for at in 0..tokens.len() {
            let rest = &tokens[at..];
            let mut literals = rest.iter().filter_map(|token| literal(token));
            if starts(rest, "prost : : Enumeration") {
                self.enums += 1;
            } else if starts(rest, "fn full_name (") {
                self.messages.extend(literals.next());
            } else if starts(rest, "ServiceSpec : : new (")
                && let Some((package, name)) = literals.next().zip(literals.next())
            {
                service = join(&package, &name);
                self.services.insert(service.clone());
            } else if starts(rest, "const SERVICE_NAME") {
                self.services.extend(literals.next());
            } else if starts(rest, "MethodSpec : :")
                && let Some((kind, name)) = rest.get(3).zip(literals.next())
            {
                self.methods.insert(format!("{service}/{name} ({kind})"));
            } else if starts(rest, "GrpcMethod : : new (") {
                method = literals.next().zip(literals.next());
            } else if starts(rest, "self . inner .")
                && let Some(kind) = rest.get(4).filter(|name| *name != "ready")
                && let Some((service, name)) = method.take()
            {
                self.methods.insert(format!("{service}/{name} ({kind})"));
            }
        }
    }

    /// Returns the items that `other` lacks, and those that it has in addition.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let sets = [
            (&self.messages, &other.messages),
            (&self.services, &other.services),
            (&self.methods, &other.methods),
        ];
        let mut found = Vec::new();
        for (expected, generated) in sets {
            let missing = expected.difference(generated);
            found.extend(missing.map(|name| format!("`{name}` is missing")));
            let more = generated.difference(expected);
            found.extend(more.map(|name| format!("`{name}` is generated")));
        }
        if self.enums != other.enums {
            found.push(format!("{} enums instead of {}", other.enums, self.enums));
        }
        found
    }
}

fn join(scope: &str, name: &str) -> String {
    match scope {
        "" => name.to_owned(),
        scope => format!("{scope}.{name}"),
    }
}

/// Lists the tokens of code. A group becomes its opening delimiter and its tokens.
fn flatten(code: TokenStream, tokens: &mut Vec<String>) {
    for token in code {
        if let TokenTree::Group(group) = token {
            tokens.push(match group.delimiter() {
                Delimiter::Parenthesis => "(".to_owned(),
                Delimiter::Brace => "{".to_owned(),
                Delimiter::Bracket => "[".to_owned(),
                Delimiter::None => String::new(),
            });
            flatten(group.stream(), tokens);
        } else {
            tokens.push(token.to_string());
        }
    }
}

/// Returns whether tokens start with those of `pattern`, which are separated by spaces.
fn starts(tokens: &[String], pattern: &str) -> bool {
    let mut tokens = tokens.iter();
    pattern
        .split(' ')
        .all(|expected| tokens.next().is_some_and(|token| token == expected))
}

fn literal(token: &str) -> Option<String> {
    let text = token.strip_prefix('"')?.strip_suffix('"')?;
    Some(text.to_owned())
}
