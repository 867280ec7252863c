//! Prints a file.

use prost_reflect::DescriptorPool;

use super::comments::Comments;
use super::names::Names;
use super::options::{self, Setting};
use super::select::Selection;
use super::writer::Writer;
use super::{literal, message};
use crate::Schema;
use crate::schema::edition_name;
use crate::schema::raw::{Field, File};
use crate::schema::{index_of, join};

// Numbers of fields in `FileDescriptorProto`.
const PACKAGE: i32 = 2;
const IMPORT: i32 = 3;
const MESSAGE: i32 = 4;
const ENUM: i32 = 5;
const SERVICE: i32 = 6;
const EXTENSION: i32 = 7;
const OPTIONS: i32 = 8;
const SYNTAX: i32 = 12;
const EDITION: i32 = 14;
const OPTION_IMPORT: i32 = 15;

/// The language of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Proto2,
    Proto3,
    Edition,
}

/// A printer of a file.
pub(super) struct Printer<'a> {
    pub(super) pool: &'a DescriptorPool,
    pub(super) file: &'a File,
    pub(super) syntax: Syntax,
    pub(super) names: &'a Names,
    pub(super) comments: Comments<'a>,
    pub(super) out: Writer,
    /// The elements that are printed; `None` for all.
    selection: Option<&'a Selection>,
}

/// A declaration in a file or a message.
pub(super) enum Item {
    Message(usize),
    Enum(usize),
    Service(usize),
    Extension(usize),
}

impl<'a> Printer<'a> {
    pub(super) fn new(
        schema: &'a Schema,
        names: &'a Names,
        file: &'a File,
        selection: Option<&'a Selection>,
    ) -> Self {
        Self {
            pool: schema.pool(),
            file,
            syntax: match file.syntax() {
                "editions" => Syntax::Edition,
                "proto3" => Syntax::Proto3,
                _ => Syntax::Proto2,
            },
            names,
            comments: Comments::new(file.source_code_info.as_ref()),
            out: Writer::default(),
            selection,
        }
    }

    /// Returns the text.
    pub(super) fn print(mut self) -> String {
        self.head();
        let mut items: Vec<(Vec<i32>, Item)> = Vec::new();
        let file = self.file;
        let package = file.package();
        let is_selected = |name: &str| {
            self.selection
                .is_none_or(|selection| selection.has(&join(package, name)))
        };
        let groups = group_names(&self.file.extension);
        for (index, message) in self.file.message_type.iter().enumerate() {
            if is_selected(message.name()) && !groups.contains(&message.name()) {
                items.push((vec![MESSAGE, number(index)], Item::Message(index)));
            }
        }
        for (index, each) in self.file.enum_type.iter().enumerate() {
            if is_selected(each.name()) {
                items.push((vec![ENUM, number(index)], Item::Enum(index)));
            }
        }
        for (index, service) in self.file.service.iter().enumerate() {
            if is_selected(service.name()) {
                items.push((vec![SERVICE, number(index)], Item::Service(index)));
            }
        }
        for index in 0..self.file.extension.len() {
            if self.selection.is_none() {
                items.push((vec![EXTENSION, number(index)], Item::Extension(index)));
            }
        }
        sort(&mut items, &self.comments);
        let mut items = items.into_iter().peekable();
        while let Some((path, item)) = items.next() {
            self.out.gap();
            match item {
                Item::Message(index) => {
                    message::print(&mut self, &file.message_type[index], &path, package);
                }
                Item::Enum(index) => {
                    message::print_enum(&mut self, &file.enum_type[index], &path, package);
                }
                Item::Service(index) => {
                    let service = &file.service[index];
                    let methods = self
                        .selection
                        .and_then(|selection| selection.method(&join(package, service.name())));
                    self.service(service, &path, methods);
                }
                Item::Extension(index) => {
                    let extendee = self.file.extension[index].extendee();
                    let mut block = vec![(path, index)];
                    while let Some((path, Item::Extension(index))) = items.next_if(|(_, item)| {
                        matches!(item, Item::Extension(index)
                            if self.file.extension[*index].extendee() == extendee)
                    }) {
                        block.push((path, index));
                    }
                    let (extensions, messages) = (&self.file.extension, &self.file.message_type);
                    self.extend(
                        extendee,
                        &block,
                        extensions,
                        (messages, &[MESSAGE]),
                        package,
                    );
                }
            }
        }
        self.out.finish()
    }

    /// Prints syntax, package, imports and options.
    fn head(&mut self) {
        let (path, line) = match self.syntax {
            Syntax::Proto2 => (SYNTAX, "syntax = \"proto2\";".to_owned()),
            Syntax::Proto3 => (SYNTAX, "syntax = \"proto3\";".to_owned()),
            Syntax::Edition => {
                let edition = self.file.edition.unwrap_or_default();
                let name = edition_name(edition).unwrap_or("2023");
                // protoc gives both the number of the syntax.
                let path = if self.comments.has_leading(&[EDITION]) {
                    EDITION
                } else {
                    SYNTAX
                };
                (path, format!("edition = \"{name}\";"))
            }
        };
        self.statement(&[path], &line);
        if !self.file.package().is_empty() {
            self.out.gap();
            let line = format!("package {};", self.file.package());
            self.statement(&[PACKAGE], &line);
        }
        self.imports();
        self.file_options();
    }

    fn imports(&mut self) {
        self.out.gap();
        let file = self.file;
        let has = |indices: &[i32], index: usize| {
            indices
                .iter()
                .any(|each| index_of(*each, file.dependency.len()) == Some(index))
        };
        for (index, import) in file.dependency.iter().enumerate() {
            if let Some(selection) = self.selection
                && !selection.needs_import(file.name(), import)
            {
                continue;
            }
            let kind = if has(&file.public_dependency, index) {
                "public "
            } else if has(&file.weak_dependency, index) {
                "weak "
            } else {
                ""
            };
            let line = format!("import {kind}{};", literal::string(import.as_bytes()));
            self.statement(&[IMPORT, number(index)], &line);
        }
        if self.selection.is_some() {
            return;
        }
        for (index, import) in file.option_dependency.iter().enumerate() {
            let line = format!("import option {};", literal::string(import.as_bytes()));
            self.statement(&[OPTION_IMPORT, number(index)], &line);
        }
    }

    fn file_options(&mut self) {
        let package = self.file.package().to_owned();
        let mut settings = self.settings(self.file.options.as_deref(), "FileOptions", &package);
        if self.selection.is_some() {
            // Others do not matter for a part of the file.
            settings.retain(|setting| setting.name.starts_with(options::FEATURES));
        }
        if !settings.is_empty() {
            self.out.gap();
            self.statements(&settings, &[OPTIONS]);
        }
    }

    /// Prints a line with its comments.
    pub(super) fn statement(&mut self, path: &[i32], line: &str) {
        self.leading(path);
        self.out.line(line);
        self.trailing(path);
    }

    /// Prints options as statements.
    pub(super) fn statements(&mut self, settings: &[Setting], path: &[i32]) {
        for setting in settings {
            let mut path = path.to_vec();
            path.push(i32::try_from(setting.number).unwrap_or_default());
            self.leading(&path);
            options::statement(setting, &mut self.out);
            self.trailing(&path);
        }
    }

    /// Whether only a part of the file is printed.
    pub(super) fn is_part(&self) -> bool {
        self.selection.is_some()
    }

    pub(super) fn leading(&mut self, path: &[i32]) {
        // A detached comment at the head of a file is mostly its licence.
        let is_head = matches!(path, [SYNTAX | EDITION | PACKAGE]);
        if !(is_head && self.is_part()) {
            self.comments.leading(path, &mut self.out);
        }
    }

    pub(super) fn trailing(&mut self, path: &[i32]) {
        self.comments.trailing(path, &mut self.out);
    }

    /// Prints the comment after the `{` of a block.
    pub(super) fn inner(&mut self, path: &[i32]) {
        self.comments.inner(path, &mut self.out);
    }

    /// Decodes the options of an element.
    pub(super) fn settings(
        &self,
        encoded: Option<&[u8]>,
        type_name: &str,
        scope: &str,
    ) -> Vec<Setting> {
        options::settings(encoded, type_name, self.pool, self.names, scope)
    }

    /// Returns the name of a type in a scope.
    pub(super) fn type_name(&self, full_name: &str, scope: &str) -> String {
        self.names.of_type(full_name, scope, self.file.package())
    }
}

/// Returns the names of the messages that are declared by groups.
pub(super) fn group_names(fields: &[Field]) -> Vec<&str> {
    let groups = fields.iter().filter(|field| field.is_group());
    groups
        .map(|field| field.type_name().rsplit('.').next().unwrap_or_default())
        .collect()
}

/// Sorts declarations by their positions, if all have one.
pub(super) fn sort<T>(items: &mut [(Vec<i32>, T)], comments: &Comments<'_>) {
    if items
        .iter()
        .all(|(path, _)| comments.position(path).is_some())
    {
        items.sort_by_key(|(path, _)| comments.position(path));
    }
}

/// Returns an index as part of a path.
pub(super) fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
