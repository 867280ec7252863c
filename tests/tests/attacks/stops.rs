//! Attacks on a service while it stops, as in a rolling restart: another instance is running, so no
//! call fails.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nmfw_tests::{
    attacked::{Order, Ran},
    broker::Kind,
    failure::Failure,
};
use tokio::time::sleep;

use crate::{TURN, measure::attack_until, services, stage::Stage, wire::Traffic};

/// Attacks that might make a service stop too early, or never.
const ATTACKS: [&str; 4] = ["reply-fence", "reply-itself", "open-flood", "call-slow"];

/// Longer than the attack continues after the stop of the service.
const LIMIT: Duration = Duration::from_secs(4);

async fn stop_under(kind: Kind, name: &str) -> Result<(), Failure> {
    let mut stage = Stage::start(kind).await?;
    let mut other = stage.another().await?;
    let attacks = services::all();
    let attack = attacks.iter().find(|attack| attack.name == name);
    let attack = *attack.ok_or_else(|| Failure::new(format!("there is no attack {name}")))?;
    stage.tell(&Order::Go).await?;
    let (target, traffic) = (stage.target.clone(), Arc::new(Traffic::little()));
    let until = Instant::now() + LIMIT;
    let attacker =
        thread::spawn(move || attack_until(attack.run, attack.user, &target, &traffic, until));
    sleep(Duration::from_millis(300)).await;
    let stopped: Ran = stage.service.order(&Order::Stop).await?;
    let exit = stage.service.exit().await?;
    assert!(exit.success(), "{name}: {exit}");
    while !attacker.is_finished() {
        sleep(Duration::from_millis(20)).await;
    }
    let made = stage.tell(&Order::Halt).await?;
    assert!(made.failed.is_empty(), "{name}: {:?}", made.failed);
    let ran: Ran = other.order(&Order::Ran(made.not_started)).await?;
    assert_eq!(
        (ran.asked, ran.repeated, stopped.repeated),
        (0, 0, 0),
        "{name}"
    );
    assert!(
        ran.calls > 0,
        "{name}: the other instance received no calls"
    );
    Ok(())
}

async fn stops(kind: Kind) {
    let turn = TURN.lock().await;
    let is_full = nmfw_tests::chosen("attacks");
    let count = if is_full { ATTACKS.len() } else { 1 };
    for name in &ATTACKS[..count] {
        stop_under(kind, name).await.unwrap();
    }
    drop(turn);
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_embedded() {
    stops(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_nats_server() {
    stops(Kind::NatsServer).await;
}
