//! The types that services use, and on which side of a call.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, Kind, MessageDescriptor, ServiceDescriptor};

use super::parties::Parties;

/// The messages and enums that are reachable from methods, by full name.
///
/// Types inside `google.protobuf.Any` cannot be known.
#[derive(Debug, Default)]
pub(super) struct Usage {
    messages: HashMap<String, Parties>,
    enums: HashMap<String, Parties>,
}

impl Usage {
    /// Collects the types of all services.
    pub(super) fn of_all(pool: &DescriptorPool) -> Self {
        let mut usage = Self::default();
        for service in pool.services() {
            usage.add(&service);
        }
        usage
    }

    /// Collects the types of one service.
    pub(super) fn of_service(service: &ServiceDescriptor) -> Self {
        let mut usage = Self::default();
        usage.add(service);
        usage
    }

    pub(super) fn of_message(&self, message: &MessageDescriptor) -> Option<Parties> {
        self.messages.get(message.full_name()).copied()
    }

    pub(super) fn of_enum(&self, found: &EnumDescriptor) -> Option<Parties> {
        self.enums.get(found.full_name()).copied()
    }

    fn add(&mut self, service: &ServiceDescriptor) {
        for method in service.methods() {
            self.reach(method.input(), Parties::REQUEST);
            self.reach(method.output(), Parties::RESPONSE);
        }
    }

    /// Visits a message and all that it contains; each message at most once for each side.
    fn reach(&mut self, message: MessageDescriptor, side: Parties) {
        let mut open = vec![message];
        while let Some(message) = open.pop() {
            if !mark(&mut self.messages, message.full_name(), side) {
                continue;
            }
            let fields = message.fields().map(|field| field.kind());
            let extensions = message.extensions().map(|extension| extension.kind());
            for kind in fields.chain(extensions) {
                match kind {
                    Kind::Message(message) => open.push(message),
                    Kind::Enum(found) => {
                        mark(&mut self.enums, found.full_name(), side);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Returns whether the side is new for this name.
fn mark(marks: &mut HashMap<String, Parties>, name: &str, side: Parties) -> bool {
    if let Some(known) = marks.get_mut(name) {
        let all = known.and(side);
        let is_new = *known != all;
        *known = all;
        is_new
    } else {
        marks.insert(name.to_owned(), side);
        true
    }
}
