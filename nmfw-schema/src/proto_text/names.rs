//! Names of types, as short as they can be without a change of meaning.

use std::collections::HashMap;

use crate::schema::join;
use crate::schema::raw::{FileSet, Msg};

/// The meaning of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Type,
    /// A package or service, in which a compiler looks for the rest of a name.
    Scope,
}

/// The names that a compiler considers when it looks up a relative one.
pub(super) struct Names(HashMap<String, Symbol>);

impl Names {
    pub(super) fn new(set: &FileSet) -> Self {
        let mut names = Self(HashMap::new());
        for file in &set.file {
            let package = file.package();
            for (end, _) in package.match_indices('.') {
                names.add(package[..end].to_owned(), Symbol::Scope);
            }
            if !package.is_empty() {
                names.add(package.to_owned(), Symbol::Scope);
            }
            for message in &file.message_type {
                names.message(message, package);
            }
            for each in &file.enum_type {
                names.add(join(package, each.name()), Symbol::Type);
            }
            for service in &file.service {
                names.add(join(package, service.name()), Symbol::Scope);
            }
        }
        names
    }

    fn message(&mut self, message: &Msg, scope: &str) {
        let full_name = join(scope, message.name());
        for nested in &message.nested_type {
            self.message(nested, &full_name);
        }
        for each in &message.enum_type {
            self.add(join(&full_name, each.name()), Symbol::Type);
        }
        self.add(full_name, Symbol::Type);
    }

    fn add(&mut self, name: String, symbol: Symbol) {
        self.0.entry(name).or_insert(symbol);
    }

    /// Returns a name for a type, given as `.full.Name`, in a scope.
    ///
    /// A type of the same package is named from the innermost possible scope on, one of another
    /// package in full.
    pub(super) fn of_type(&self, full_name: &str, scope: &str, package: &str) -> String {
        let full_name = full_name.trim_start_matches('.');
        let in_package = match package {
            "" => Some(full_name),
            _ => full_name
                .strip_prefix(package)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        if let Some(relative) = in_package {
            let ends = relative.rmatch_indices('.').map(|(dot, _)| dot + 1);
            for start in ends.chain([0]) {
                let candidate = &relative[start..];
                if self.resolves(candidate, scope, full_name) {
                    return candidate.to_owned();
                }
            }
        }
        self.in_full(full_name, scope)
    }

    /// Returns the full name of an extension in a scope, with a dot in front if it needs one.
    pub(super) fn in_full(&self, full_name: &str, scope: &str) -> String {
        if self.resolves(full_name, scope, full_name) {
            full_name.to_owned()
        } else {
            format!(".{full_name}")
        }
    }

    /// Whether a compiler finds a full name by this name in a scope.
    fn resolves(&self, name: &str, scope: &str, full_name: &str) -> bool {
        let (first, is_simple) = match name.split_once('.') {
            Some((first, _)) => (first, false),
            None => (name, true),
        };
        let mut scope = Some(scope);
        while let Some(outer) = scope {
            let candidate = join(outer, first);
            match self.0.get(&candidate) {
                // Compilers differ in whether they go on after a package of this name.
                Some(Symbol::Scope) if is_simple => return false,
                Some(_) => return join(outer, name) == full_name,
                None => {}
            }
            scope = match outer.rsplit_once('.') {
                Some((outer, _)) => Some(outer),
                None if outer.is_empty() => None,
                None => Some(""),
            };
        }
        // An extension without a package is not among the names.
        is_simple && name == full_name
    }
}
