//! What every log line of a process says: which service it is, and which instance of it.

use std::sync::{PoisonError, RwLock};

use super::fields::Fields;
use crate::nats::server::handle::ServedService;
use nmfw_core::service::service::Service;

/// Empty unless the process serves exactly one service, as there is no telling which of several a
/// line is about.
static FIELDS: RwLock<Fields> = RwLock::new(Fields::new());

/// The process is about to serve these.
pub(crate) fn serves(services: &[Service]) {
    let mut fields = Fields::new();
    if let [service] = services {
        fields.set("service", service.shown_name());
        fields.set("version", service.shown_version());
    }
    *FIELDS.write().unwrap_or_else(PoisonError::into_inner) = fields;
}

/// The process serves these.
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

/// What to call the process: its service if that is known, else its program.
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
