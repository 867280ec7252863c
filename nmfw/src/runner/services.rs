//! [`IntoServices`]: the services of a tool, and their names.

use crate::service::service::Service;

/// One or several services: a [`Service`], or a list of them.
pub trait IntoServices {
    /// Returns the services, in order.
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

/// Names for the log and the help, before validation.
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
