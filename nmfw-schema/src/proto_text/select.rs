//! Selects an element of a schema and what it needs.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::DescriptorPool;

use super::options;
use crate::Schema;
use crate::schema::raw::{Enum, Field, File, FileSet, Msg, Service};
use crate::schema::{imports, join};

/// The elements of files that are printed.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The full names of messages and enums on the level of a file, and of services.
    elements: BTreeSet<String>,
    /// The only method of a service that is printed: the full name of the service, the method.
    only_method: Option<(String, String)>,
    /// The names of the files with elements, the first one in front.
    files: Vec<String>,
    /// The files that each file needs, by its name.
    needed: BTreeMap<String, BTreeSet<String>>,
    /// The files that each file makes visible to those that import it.
    visible: BTreeMap<String, BTreeSet<String>>,
}

/// Whether the elements of a file are imported rather than printed.
fn is_well_known(file: &str) -> bool {
    file.starts_with("google/protobuf/")
}

impl Selection {
    /// Selects an element by its full name.
    pub(super) fn new(schema: &Schema, set: &FileSet, full_name: &str) -> Option<Self> {
        let mut selection = Self {
            visible: visible(set),
            ..Self::default()
        };
        let index = Index::new(set);
        let mut start = full_name.trim_start_matches('.').to_owned();
        if let Some(method) = schema.method(full_name) {
            start = method.parent_service().full_name().to_owned();
            selection.only_method = Some((start.clone(), method.name().to_owned()));
        }
        let mut left = vec![index.top_level(&start)?];
        while let Some(name) = left.pop() {
            let Some((file, element)) = index.0.get(name) else {
                continue;
            };
            if !selection.elements.insert(name.to_owned()) {
                continue;
            }
            if !selection.files.iter().any(|known| known == file.name()) {
                selection.files.push(file.name().to_owned());
            }
            let method = selection.method(name).map(str::to_owned);
            let mut needs = Needs {
                pool: schema.pool(),
                types: BTreeSet::new(),
                extensions: BTreeSet::new(),
            };
            needs.add(element, method.as_deref());
            let needed = selection.needed.entry(file.name().to_owned()).or_default();
            for each in &needs.types {
                let Some(each) = index.top_level(each) else {
                    continue;
                };
                let Some((of, _)) = index.0.get(each) else {
                    continue;
                };
                needed.insert(of.name().to_owned());
                if !is_well_known(of.name()) {
                    left.push(each);
                }
            }
            for extension in &needs.extensions {
                let extension = schema.pool().get_extension_by_name(extension);
                needed.extend(extension.map(|it| it.parent_file().name().to_owned()));
            }
        }
        Some(selection)
    }

    /// Whether an element on the level of a file is printed.
    pub(super) fn has(&self, full_name: &str) -> bool {
        self.elements.contains(full_name)
    }

    /// Returns the only method of a service that is printed, if not all are.
    pub(super) fn method(&self, service: &str) -> Option<&str> {
        self.only_method
            .as_ref()
            .filter(|(of, _)| of == service)
            .map(|(_, method)| method.as_str())
    }

    /// Returns the files with elements; the file of the element that was asked for is the first.
    pub(super) fn files<'s>(&'s self, set: &'s FileSet) -> impl Iterator<Item = &'s File> {
        self.files
            .iter()
            .filter_map(|name| set.file.iter().find(|file| file.name() == name))
    }

    pub(super) fn number_of_files(&self) -> usize {
        self.files.len()
    }

    /// Whether a file needs an import for what is printed of it.
    pub(super) fn needs_import(&self, file: &str, import: &str) -> bool {
        let (Some(needed), Some(visible)) = (self.needed.get(file), self.visible.get(import))
        else {
            return false;
        };
        visible.iter().any(|each| needed.contains(each))
    }
}

/// Returns, for each file, itself and the files that it imports publicly.
fn visible(set: &FileSet) -> BTreeMap<String, BTreeSet<String>> {
    let by_name = imports::by_name(&set.file);
    let visible = |file: &File| {
        let seen = imports::with_public(std::iter::once(file.name()), &by_name);
        seen.into_iter().map(str::to_owned).collect()
    };
    let all = set.file.iter();
    all.map(|file| (file.name().to_owned(), visible(file)))
        .collect()
}

/// An element on the level of a file.
enum Element<'a> {
    Message(&'a Msg),
    Enum(&'a Enum),
    Service(&'a Service),
}

/// The elements on the level of files, by their full names.
struct Index<'a>(BTreeMap<String, (&'a File, Element<'a>)>);

impl<'a> Index<'a> {
    fn new(set: &'a FileSet) -> Self {
        let mut index = BTreeMap::new();
        for file in &set.file {
            let package = file.package();
            for message in &file.message_type {
                let name = join(package, message.name());
                index.insert(name, (file, Element::Message(message)));
            }
            for each in &file.enum_type {
                index.insert(join(package, each.name()), (file, Element::Enum(each)));
            }
            for service in &file.service {
                let name = join(package, service.name());
                index.insert(name, (file, Element::Service(service)));
            }
        }
        Self(index)
    }

    /// Returns the full name of the element on the level of a file that has an element, if there is
    /// such an element at all.
    fn top_level(&self, full_name: &str) -> Option<&str> {
        let full_name = full_name.trim_start_matches('.');
        let ends = full_name.match_indices('.').map(|(dot, _)| dot);
        for end in ends.chain([full_name.len()]) {
            if let Some((name, (_, element))) = self.0.get_key_value(&full_name[..end]) {
                let rest = full_name[end..].trim_start_matches('.');
                return element.has(rest).then_some(name.as_str());
            }
        }
        None
    }
}

impl Element<'_> {
    /// Whether the element has a nested message or enum with this name; an empty name is its own.
    fn has(&self, nested: &str) -> bool {
        if nested.is_empty() {
            return true;
        }
        let Self::Message(mut message) = *self else {
            return false;
        };
        for name in nested.split('.') {
            match message.nested_type.iter().find(|it| it.name() == name) {
                Some(nested) => message = nested,
                None => return message.enum_type.iter().any(|it| it.name() == name),
            }
        }
        true
    }
}

/// The needs of an element: the full names of types, and of the extensions among its options.
struct Needs<'a> {
    pool: &'a DescriptorPool,
    types: BTreeSet<String>,
    extensions: BTreeSet<String>,
}

impl Needs<'_> {
    fn add(&mut self, element: &Element<'_>, only_method: Option<&str>) {
        match element {
            Element::Message(message) => self.message(message),
            Element::Enum(each) => self.enumeration(each),
            Element::Service(service) => {
                self.options(service.options.as_deref(), "ServiceOptions");
                for method in &service.method {
                    if only_method.is_none_or(|only| only == method.name()) {
                        self.options(method.options.as_deref(), "MethodOptions");
                        self.types.insert(method.input_type().to_owned());
                        self.types.insert(method.output_type().to_owned());
                    }
                }
            }
        }
    }

    fn message(&mut self, message: &Msg) {
        self.options(message.options.as_deref(), "MessageOptions");
        for range in &message.extension_range {
            self.options(range.options.as_deref(), "ExtensionRangeOptions");
        }
        for oneof in &message.oneof_decl {
            self.options(oneof.options.as_deref(), "OneofOptions");
        }
        for field in message.field.iter().chain(&message.extension) {
            self.field(field);
        }
        for nested in &message.nested_type {
            self.message(nested);
        }
        for each in &message.enum_type {
            self.enumeration(each);
        }
    }

    fn field(&mut self, field: &Field) {
        self.options(field.options.as_deref(), "FieldOptions");
        self.types.extend(field.type_name.clone());
        self.types.extend(field.extendee.clone());
    }

    fn enumeration(&mut self, each: &Enum) {
        self.options(each.options.as_deref(), "EnumOptions");
        for value in &each.value {
            self.options(value.options.as_deref(), "EnumValueOptions");
        }
    }

    fn options(&mut self, encoded: Option<&[u8]>, type_name: &str) {
        let names = options::extensions(encoded, type_name, self.pool);
        self.extensions.extend(names);
    }
}
