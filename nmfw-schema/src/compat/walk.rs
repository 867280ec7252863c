//! Finds the pairs of elements, and has each checked.

use std::collections::{HashMap, HashSet};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, MessageDescriptor, ServiceDescriptor,
};

use super::enums::{self, EnumPair};
use super::field::Field;
use super::fields::{self, FieldPair};
use super::files;
use super::locations::Locations;
use super::messages::{self, MessagePair};
use super::report::{Findings, Report};
use super::services;
use super::types::Subsets;
use super::usage::Usage;
use super::{Rules, parties::Parties};

/// Compares all, or only what clients of one service of the old schema can notice.
pub(super) fn compare(
    old: &DescriptorPool,
    new: &DescriptorPool,
    service: Option<&ServiceDescriptor>,
    rules: Rules,
) -> Report {
    let mut findings = Findings::new(rules, Locations::new(old), Locations::new(new));
    let scope = Scope::new(old, new, service);
    compare_files(old, new, &scope, &mut findings);
    compare_types(old, new, &scope, &mut findings);
    for old in old.services().filter(|old| scope.has_service(old)) {
        services::compare(&old, new, &mut findings);
    }
    findings.into_report()
}

fn compare_files(
    old: &DescriptorPool,
    new: &DescriptorPool,
    scope: &Scope<'_>,
    findings: &mut Findings<'_>,
) {
    let of_scope = scope.files(old);
    for old in old.files() {
        if of_scope
            .as_ref()
            .is_some_and(|files| !files.contains(&old.index()))
        {
            continue;
        }
        if let Some(new) = new.get_file_by_name(old.name()) {
            files::compare(&old, &new, findings);
        }
    }
}

fn compare_types(
    old: &DescriptorPool,
    new: &DescriptorPool,
    scope: &Scope<'_>,
    findings: &mut Findings<'_>,
) {
    let mut subsets = Subsets::default();
    // Entries of maps are compared with the maps.
    for old in old.all_messages().filter(|old| !old.is_map_entry()) {
        let Some(parties) = scope.of_message(&old) else {
            continue;
        };
        if let Some(new) = new
            .get_message_by_name(old.full_name())
            .filter(|new| !new.is_map_entry())
        {
            let pair = MessagePair { old, new, parties };
            messages::compare(&pair, &mut subsets, findings);
        }
    }
    for old in old.all_enums() {
        let Some(parties) = scope.of_enum(&old) else {
            continue;
        };
        if let Some(new) = new.get_enum_by_name(old.full_name()) {
            enums::compare(&EnumPair { old, new, parties }, findings);
        }
    }
    let new_extensions: HashMap<(String, u32), ExtensionDescriptor> = new
        .all_extensions()
        .map(|extension| (key(&extension), extension))
        .collect();
    for old in old.all_extensions() {
        let Some(parties) = scope.of_message(&old.containing_message()) else {
            continue;
        };
        if let Some(new) = new_extensions.get(&key(&old)) {
            let pair = FieldPair::new(
                Field::Extension(old),
                Field::Extension(new.clone()),
                parties,
            );
            fields::compare(&pair, &mut subsets, findings);
        }
    }
}

fn key(extension: &ExtensionDescriptor) -> (String, u32) {
    let extended = extension.containing_message();
    (extended.full_name().to_owned(), extension.number())
}

/// The elements that are compared, and the sides of calls that use them.
struct Scope<'a> {
    /// The types of the old schema that its services use; of the one service, if only one counts.
    old: Usage,
    only: Option<Only<'a>>,
}

struct Only<'a> {
    service: &'a ServiceDescriptor,
    /// The types of the new schema that the service uses.
    new: Usage,
}

impl<'a> Scope<'a> {
    fn new(
        old: &DescriptorPool,
        new: &DescriptorPool,
        service: Option<&'a ServiceDescriptor>,
    ) -> Self {
        match service {
            None => Self {
                old: Usage::of_all(old),
                only: None,
            },
            Some(service) => Self {
                old: Usage::of_service(service),
                only: Some(Only {
                    service,
                    new: new
                        .get_service_by_name(service.full_name())
                        .map(|service| Usage::of_service(&service))
                        .unwrap_or_default(),
                }),
            },
        }
    }

    fn has_service(&self, service: &ServiceDescriptor) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.service == service)
    }

    /// Returns the parties that use the message; `None` if it is not compared.
    fn of_message(&self, message: &MessageDescriptor) -> Option<Parties> {
        match &self.only {
            None => Some(self.old.of_message(message).unwrap_or_default()),
            Some(only) => {
                only.new.of_message(message)?;
                self.old.of_message(message)
            }
        }
    }

    /// Returns the parties that use the enum; `None` if it is not compared.
    fn of_enum(&self, found: &EnumDescriptor) -> Option<Parties> {
        match &self.only {
            None => Some(self.old.of_enum(found).unwrap_or_default()),
            Some(only) => {
                only.new.of_enum(found)?;
                self.old.of_enum(found)
            }
        }
    }

    /// Returns the indexes of the files that are compared; `None` for all.
    fn files(&self, old: &DescriptorPool) -> Option<HashSet<usize>> {
        let only = self.only.as_ref()?;
        let messages = old
            .all_messages()
            .filter(|message| self.old.of_message(message).is_some())
            .map(|message| message.parent_file().index());
        let enums = old
            .all_enums()
            .filter(|found| self.old.of_enum(found).is_some())
            .map(|found| found.parent_file().index());
        let own = only.service.parent_file().index();
        Some(messages.chain(enums).chain([own]).collect())
    }
}
