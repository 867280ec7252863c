//! Resolves the type names of a file by the rules of protoc.
//!
//! prost-reflect looks a name up among all files of the pool, and only then checks that the file is
//! imported. A matching package in an unrelated file therefore ends its search, where protoc would
//! continue. It also follows `import public` for only one step. So all names are made fully
//! qualified before they reach the pool, and the files behind public imports are added to the
//! imports. An unresolved name stays unchanged, and the pool reports it.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    UninterpretedOption,
};

/// Features that only enable or disable checks of protoc.
const CHECKS: [&str; 3] = [
    "default_symbol_visibility",
    "enforce_naming_style",
    "enforce_proto_limits",
];

/// The kinds of named elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Message,
    Enum,
    Service,
    Extension,
}

/// The kind of element that a reference needs.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// The type of a field.
    Type,
    Extension,
}

/// The names of all files that were linked so far.
#[derive(Debug, Default)]
pub(crate) struct Linker {
    symbols: HashMap<String, (usize, Symbol)>,
    files: HashMap<String, usize>,
    /// For each file, the files that an import of it makes visible: itself and its public imports.
    exports: Vec<BTreeSet<usize>>,
    names: Vec<String>,
    packages: Vec<String>,
}

/// The names that are visible in one file.
struct View<'a> {
    symbols: &'a HashMap<String, (usize, Symbol)>,
    files: BTreeSet<usize>,
    packages: HashSet<&'a str>,
}

impl Linker {
    /// Makes the names in a file fully qualified, and returns the files that are visible through public imports only.
    ///
    /// All files that it imports have to be linked before it.
    pub(crate) fn link(&mut self, file: &mut FileDescriptorProto) -> Vec<String> {
        let id = self.add(file);
        let imports = || {
            file.dependency
                .iter()
                .filter_map(|name| self.files.get(name))
                .copied()
        };
        let visible: BTreeSet<usize> = imports()
            .flat_map(|import| self.exports[import].iter().copied())
            .chain([id])
            .collect();
        let direct: BTreeSet<usize> = imports().chain([id]).collect();
        let public = visible
            .difference(&direct)
            .map(|id| self.names[*id].clone());
        let public = public.collect();
        let view = View {
            symbols: &self.symbols,
            packages: visible
                .iter()
                .flat_map(|id| prefixes(&self.packages[*id]))
                .collect(),
            files: visible,
        };
        view.file(file);
        public
    }

    fn add(&mut self, file: &FileDescriptorProto) -> usize {
        let id = self.exports.len();
        self.files.insert(file.name().to_owned(), id);
        self.names.push(file.name().to_owned());
        self.packages.push(file.package().to_owned());
        let public = file.public_dependency.iter().filter_map(|index| {
            let name = file.dependency.get(usize::try_from(*index).ok()?)?;
            self.exports.get(*self.files.get(name)?)
        });
        let exports = public.flatten().copied().chain([id]).collect();
        self.exports.push(exports);

        let scope = file.package();
        for message in &file.message_type {
            self.add_message(id, scope, message);
        }
        for item in &file.enum_type {
            self.add_enum(id, scope, item);
        }
        for service in &file.service {
            self.add_name(id, scope, service.name(), Symbol::Service);
        }
        for extension in &file.extension {
            self.add_name(id, scope, extension.name(), Symbol::Extension);
        }
        id
    }

    fn add_name(&mut self, file: usize, scope: &str, name: &str, symbol: Symbol) -> String {
        let full_name = join(scope, name);
        // The first of two definitions is kept; the pool reports the second.
        self.symbols
            .entry(full_name.clone())
            .or_insert((file, symbol));
        full_name
    }

    fn add_message(&mut self, file: usize, scope: &str, message: &DescriptorProto) {
        let scope = self.add_name(file, scope, message.name(), Symbol::Message);
        for nested in &message.nested_type {
            self.add_message(file, &scope, nested);
        }
        for item in &message.enum_type {
            self.add_enum(file, &scope, item);
        }
        for extension in &message.extension {
            self.add_name(file, &scope, extension.name(), Symbol::Extension);
        }
    }

    fn add_enum(&mut self, file: usize, scope: &str, item: &EnumDescriptorProto) {
        self.add_name(file, scope, item.name(), Symbol::Enum);
    }
}

impl View<'_> {
    fn file(&self, file: &mut FileDescriptorProto) {
        let package = file.package.clone().unwrap_or_default();
        self.options(
            &package,
            file.options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        );
        for message in &mut file.message_type {
            self.message(&package, message);
        }
        for item in &mut file.enum_type {
            self.enumeration(&package, item);
        }
        for extension in &mut file.extension {
            self.field(&package, extension);
        }
        for service in &mut file.service {
            let scope = join(&package, service.name());
            self.options(
                &scope,
                service
                    .options
                    .as_mut()
                    .map(|options| &mut options.uninterpreted_option),
            );
            for method in &mut service.method {
                for name in [&mut method.input_type, &mut method.output_type] {
                    self.qualify(&scope, name, Wanted::Type);
                }
                self.options(
                    &scope,
                    method
                        .options
                        .as_mut()
                        .map(|options| &mut options.uninterpreted_option),
                );
            }
        }
    }

    fn message(&self, scope: &str, message: &mut DescriptorProto) {
        let scope = join(scope, message.name());
        self.options(
            &scope,
            message
                .options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        );
        for field in message.field.iter_mut().chain(&mut message.extension) {
            self.field(&scope, field);
        }
        for oneof in &mut message.oneof_decl {
            self.options(
                &scope,
                oneof
                    .options
                    .as_mut()
                    .map(|options| &mut options.uninterpreted_option),
            );
        }
        for range in &mut message.extension_range {
            self.options(
                &scope,
                range
                    .options
                    .as_mut()
                    .map(|options| &mut options.uninterpreted_option),
            );
        }
        for nested in &mut message.nested_type {
            self.message(&scope, nested);
        }
        for item in &mut message.enum_type {
            self.enumeration(&scope, item);
        }
    }

    fn enumeration(&self, scope: &str, item: &mut EnumDescriptorProto) {
        let scope = join(scope, item.name());
        self.options(
            &scope,
            item.options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        );
        for value in &mut item.value {
            self.options(
                &scope,
                value
                    .options
                    .as_mut()
                    .map(|options| &mut options.uninterpreted_option),
            );
        }
    }

    fn field(&self, scope: &str, field: &mut FieldDescriptorProto) {
        self.qualify(scope, &mut field.type_name, Wanted::Type);
        self.qualify(scope, &mut field.extendee, Wanted::Type);
        self.options(
            scope,
            field
                .options
                .as_mut()
                .map(|options| &mut options.uninterpreted_option),
        );
    }

    fn options(&self, scope: &str, options: Option<&mut Vec<UninterpretedOption>>) {
        let Some(options) = options else { return };
        // Only protoc itself reads these options, and leaves them out of descriptor sets. The pool
        // does not know them.
        options.retain(|option| match option.name.as_slice() {
            [features, name, ..] => {
                features.name_part != "features" || !CHECKS.contains(&name.name_part.as_str())
            }
            _ => true,
        });
        for option in options {
            for part in option.name.iter_mut().filter(|part| part.is_extension) {
                if let Some(name) = self.find(scope, &part.name_part, Wanted::Extension) {
                    part.name_part = format!(".{name}");
                }
            }
            // prost-reflect accepts these values only in braces. The identifier is kept, for an
            // enum with such a value.
            option.double_value =
                option
                    .double_value
                    .or(match option.identifier_value.as_deref() {
                        Some("inf") => Some(f64::INFINITY),
                        Some("nan") => Some(f64::NAN),
                        _ => None,
                    });
        }
    }

    fn qualify(&self, scope: &str, name: &mut Option<String>, wanted: Wanted) {
        if let Some(name) = name
            && let Some(found) = self.find(scope, name, wanted)
        {
            *name = format!(".{found}");
        }
    }

    /// Looks a name up in the scope and its enclosing scopes, innermost first.
    ///
    /// For a dotted name, the first scope that has the first part must also have the rest.
    fn find(&self, scope: &str, name: &str, wanted: Wanted) -> Option<String> {
        if name.starts_with('.') {
            return None;
        }
        let first = name.split('.').next().unwrap_or(name);
        let mut scope = Some(scope);
        while let Some(parent) = scope {
            scope = match parent.rsplit_once('.') {
                Some((outer, _)) => Some(outer),
                None if parent.is_empty() => None,
                None => Some(""),
            };
            if first.len() < name.len() {
                let candidate = join(parent, first);
                let has_members = self.packages.contains(candidate.as_str())
                    || matches!(
                        self.symbol(&candidate),
                        Some(Symbol::Message | Symbol::Enum | Symbol::Service)
                    );
                if !has_members {
                    continue;
                }
                let full_name = join(parent, name);
                return self.is(&full_name, wanted).then_some(full_name);
            }
            let full_name = join(parent, name);
            if self.is(&full_name, wanted) {
                return Some(full_name);
            }
        }
        None
    }

    fn symbol(&self, full_name: &str) -> Option<Symbol> {
        let (file, symbol) = self.symbols.get(full_name)?;
        self.files.contains(file).then_some(*symbol)
    }

    fn is(&self, full_name: &str, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Type => matches!(self.symbol(full_name), Some(Symbol::Message | Symbol::Enum)),
            Wanted::Extension => self.symbol(full_name) == Some(Symbol::Extension),
        }
    }
}

/// Returns the package and its enclosing packages.
fn prefixes(package: &str) -> impl Iterator<Item = &str> {
    let dots = package.match_indices('.').map(|(at, _)| &package[..at]);
    dots.chain(Some(package).filter(|package| !package.is_empty()))
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
