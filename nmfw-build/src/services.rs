//! The services of a build, checked.

use crate::check;
use crate::collisions;
use crate::error::{Error, Kind};
use crate::model::{self, Service};
use crate::protos::Protos;
use crate::service_names;
use crate::settings::Settings;
use crate::well_known;

/// Reads all services of the pool and gives them their Rust names.
///
/// # Errors
/// Fails with all problems of all services and messages at once.
pub(crate) fn read(protos: &Protos, settings: &Settings) -> Result<Vec<Service>, Error> {
    let pool = &protos.pool;
    let mut problems = Vec::new();
    let mut services = model::read(protos, settings, &mut problems);
    let taken = collisions::types(pool, settings, &mut problems);
    service_names::settle(&mut services, taken, settings, &mut problems)?;
    check::services(&services, &mut problems);
    well_known::unavailable(pool, settings, &mut problems);
    if problems.is_empty() {
        return Ok(services);
    }
    problems
        .sort_by(|a, b| (&a.place.file, a.place.position).cmp(&(&b.place.file, b.place.position)));
    Err(Kind::Problems(problems).into())
}
