//! The table of figures for `docs/threat-model.md`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use nmfw_tests::{
    broker::Kind,
    failure::{Doing, Failure},
};
use time::OffsetDateTime;

use crate::{
    figures::{Figures, HEADS},
    measure::Victim,
    processor::COUNT,
};

type Cells = [String; HEADS.len()];

/// The rows so far: the cells by victim, attack, and broker.
static ROWS: Mutex<Rows> = Mutex::new(Rows::new());

type Rows = BTreeMap<(u8, String), BTreeMap<u8, Cells>>;

const BROKERS: [Kind; 2] = [Kind::Embedded, Kind::NatsServer];
const VICTIMS: [(Victim, &str); 2] = [(Victim::Service, "services"), (Victim::Client, "clients")];

/// Adds the figures of an attack.
pub(crate) fn add(kind: Kind, victim: Victim, name: &str, figures: &Figures) {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let row = rows.entry((victim as u8, name.to_owned())).or_default();
    row.insert(kind as u8, figures.cells());
}

/// Writes the table of all figures so far, and returns the path.
pub(crate) fn write() -> Result<PathBuf, Failure> {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let cores = *COUNT;
    let build = if cfg!(debug_assertions) {
        "a debug"
    } else {
        "a release"
    };
    let mut text = format!(
        "Measured on {}, on {cores} cores, with {build} build. Each cell has the figure on the embedded broker, and\n\
         on nats-server.\n",
        OffsetDateTime::now_utc().date()
    );
    for (victim, of) in VICTIMS {
        let heads = HEADS.join(" | ");
        let rule = "|---".repeat(HEADS.len() + 1);
        text += &format!("\n### Of attacks on {of}\n\n| attack | {heads} |\n{rule}|\n");
        let rows = rows.iter().filter(|((by, _), _)| *by == victim as u8);
        for ((_, name), by_broker) in rows {
            text += &format!("| `{name}` |");
            for at in 0..HEADS.len() {
                let cells = BROKERS.map(|kind| {
                    let cells = by_broker.get(&(kind as u8));
                    cells.map_or("-", |cells| &cells[at])
                });
                text += &format!(" {} |", cells.join(" / "));
            }
            text.push('\n');
        }
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("attacks.md");
    fs::write(&path, text).doing(format_args!("write {}", path.display()))?;
    Ok(path)
}
