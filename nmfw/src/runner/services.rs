//! [`IntoServices`]: the services of a tool, and their names.

use nmfw_core::service::service::Service;

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
