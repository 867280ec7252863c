//! Fields of every log line of a process: its service and instance.

use std::sync::{PoisonError, RwLock};

use super::fields::Fields;
use crate::nats::server::handle::ServedService;
use nmfw_core::service::service::Service;

/// Empty unless the process serves exactly one service; otherwise, it is unknown which one a line
/// is about.
static FIELDS: RwLock<Fields> = RwLock::new(Fields::new());

/// Records the services before they are served.
pub(crate) fn serves(services: &[Service]) {
    let mut fields = Fields::new();
    if let [service] = services {
        fields.set("service", service.shown_name());
        fields.set("version", service.shown_version());
    }
    *FIELDS.write().unwrap_or_else(PoisonError::into_inner) = fields;
}

/// Records the running services.
pub(crate) fn runs(services: &[ServedService]) {
    let mut fields = Fields::new();
    if let [service] = services {
        fields.set("service", service.name.as_str());
        fields.set("version", service.version.as_str());
        fields.set("instance", service.id.as_str());
    }
    *FIELDS.write().unwrap_or_else(PoisonError::into_inner) = fields;
}

pub(super) fn fields() -> Fields {
    FIELDS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Returns the name of the process: its service if known, otherwise its program.
pub(crate) fn name() -> String {
    let service = fields().text("service").map(str::to_owned);
    let program = || {
        let program = std::env::current_exe().ok()?;
        Some(program.file_stem()?.to_string_lossy().into_owned())
    };
    service
        .or_else(program)
        .unwrap_or_else(|| "nmfw".to_owned())
}
