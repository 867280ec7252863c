//! [`IntoServices`]: what a tool serves, and what it calls that.

use crate::service::service::Service;

/// Anything that is served: a [`Service`], or several in a list.
pub trait IntoServices {
    /// The services, in order.
    fn into_services(self) -> Vec<Service>;
}

impl IntoServices for Service {
    fn into_services(self) -> Vec<Service> {
        vec![self]
    }
}

impl IntoServices for Vec<Service> {
    fn into_services(self) -> Vec<Service> {
        self
    }
}

impl<const N: usize> IntoServices for [Service; N] {
    fn into_services(self) -> Vec<Service> {
        self.into()
    }
}

/// For the log and the help, before anything is checked.
impl Service {
    pub(super) fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.spec.discovery_name())
    }

    pub(super) fn shown_version(&self) -> &str {
        self.version.as_deref().unwrap_or(self.spec.version())
    }

    pub(super) fn shown_description(&self) -> &str {
        self.description
            .as_deref()
            .unwrap_or(self.spec.description())
    }
}
