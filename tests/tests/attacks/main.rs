//! Attacks: measures what a peer with only the generated permissions can do to a service, to its
//! other callers and to its clients. `docs/threat-model.md` has the table.
//!
//! With `NMFW_TEST=attacks` every attack is measured against the bounds, which takes about half an hour
//! and needs an idle machine and an optimized build. Otherwise some attacks run briefly, and the
//! tests check only that no process ends and no guarantee is broken. `NMFW_ATTACK=header,reply`
//! selects the attacks whose names begin with these words.

#![cfg(test)]

mod clients;
mod figures;
mod measure;
mod page;
mod processor;
mod services;
mod session;
mod stage;
mod stops;
mod table;
mod wire;

use std::{env, io::Write as _, time::Duration};

use measure::{Attack, Plan, Victim, measure};
use nmfw_tests::{broker::Kind, chosen};
use stage::Stage;
use tokio::sync::Mutex;

/// Attacks are measured one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

const SHORT: Plan = Plan {
    rounds: 1,
    most_rounds: 1,
    round: Duration::from_millis(300),
    beside: None,
};

const FULL: Plan = Plan {
    rounds: 2,
    most_rounds: 3,
    round: Duration::from_millis(800),
    beside: Some(Duration::from_millis(500)),
};

/// Runs the attacks, and fails with all errors found.
async fn attacks(kind: Kind, victim: Victim, attacks: &[Attack]) {
    let turn = TURN.lock().await;
    let is_full = chosen("attacks");
    let names = env::var("NMFW_ATTACK").unwrap_or_default();
    let is_named = |attack: &Attack| names.split(',').any(|name| attack.name.starts_with(name));
    let plan = if is_full { FULL } else { SHORT };
    let chosen: Vec<&Attack> = attacks
        .iter()
        .filter(|attack| is_named(attack))
        .filter(|attack| is_full || attack.is_short || !names.is_empty())
        .collect();
    let mut wrong = Vec::new();
    say(&format!("{kind}, {victim:?}"));
    say(&format!("| attack | {} |", figures::HEADS.join(" | ")));
    let mut stage = Stage::start(kind).await.unwrap();
    for attack in &chosen {
        match measure(&mut stage, attack, victim, plan).await {
            Ok(figures) => {
                say(&figures.row(attack.name));
                table::add(kind, victim, attack.name, &figures);
                let told = figures.wrong.iter();
                wrong.extend(told.map(|what| format!("{}: {what}", attack.name)));
                // The effects of one attack must not be measured as those of the next.
                if !figures.wrong.is_empty() {
                    stage = Stage::start(kind).await.unwrap();
                }
            }
            Err(failure) => {
                say(&format!("| `{}` | {failure}", attack.name));
                wrong.push(format!("{}: {failure}", attack.name));
                stage = Stage::start(kind).await.unwrap();
            }
        }
    }
    if is_full {
        let path = table::write().unwrap();
        say(&format!("all figures so far: {}", path.display()));
    }
    drop(turn);
    assert!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
}

/// Writes a line that the test runner does not capture.
fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_services_embedded() {
    attacks(Kind::Embedded, Victim::Service, &services::all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_services_nats_server() {
    attacks(Kind::NatsServer, Victim::Service, &services::all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_clients_embedded() {
    attacks(Kind::Embedded, Victim::Client, &clients::all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_clients_nats_server() {
    attacks(Kind::NatsServer, Victim::Client, &clients::all()).await;
}
