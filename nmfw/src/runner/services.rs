//! [`IntoServices`]: what a tool serves, and what it calls that.

use nmfw_core::service::service::Service;

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
