//! The facts of services of nmfw.

use nmfw_core::{Error, ErrorKind, ServiceSpec, server::Service, service::handler::Handlers};

use crate::{Error as PermissionsError, ServiceFacts};

/// Converts the static of generated code, `&CALC_SPEC`, without settings that a program makes at
/// run time.
impl TryFrom<&'static ServiceSpec> for ServiceFacts {
    type Error = PermissionsError;

    fn try_from(spec: &'static ServiceSpec) -> Result<Self, PermissionsError> {
        // A service with its default settings; its handlers are never called.
        Self::try_from(&Service::new(spec, Handlers::default()))
    }
}

/// Converts a service that is about to be served, with all of its settings: subject, name, queue
/// groups and selected methods.
impl TryFrom<&Service> for ServiceFacts {
    type Error = PermissionsError;

    fn try_from(service: &Service) -> Result<Self, PermissionsError> {
        let wrong = |error: Error| PermissionsError::new(error.to_string());
        let name = service.checked_name().map_err(wrong)?;
        let base = service.checked_subject().map_err(wrong)?;
        let (group, methods) = service.queue_groups().map_err(wrong)?;
        let mut facts = Self::new(service.spec.full_name(), &name, &base, group.as_deref())?;
        for (method, group) in methods {
            facts = facts.with_method(method.name(), group.as_deref())?;
        }
        Ok(facts)
    }
}

impl From<PermissionsError> for Error {
    fn from(error: PermissionsError) -> Self {
        Self::new(ErrorKind::InvalidConfig, error.to_string())
    }
}
