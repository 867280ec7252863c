//! Runs the targets without a fuzzer, from the seeds and random mutations.

use std::{
    env, fs, mem,
    path::Path,
    time::{Duration, Instant},
};

use super::{decoder, honest, hostile};
use crate::nats::session::protocol::tests::network::Dice;

/// The environment variable with the run time of each target in seconds.
const SECONDS: &str = "NMFW_FUZZ_SECONDS";

/// Maximum length of an input.
const MAX_LEN: usize = 1500;

/// Runs a target with its seeds, and with mutations of them.
pub(crate) fn run(name: &str, target: fn(&[u8])) {
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs_f64(seconds.unwrap_or(0.5));
    let seeds = seeds(name);
    for (path, seed) in &seeds {
        let on_panic = FailingInput(path, seed);
        target(seed);
        mem::forget(on_panic);
    }
    // Different inputs each time, if a run time is given.
    let mut dice = Dice(if seconds.is_some() { rand::random() } else { 1 });
    let start = Instant::now();
    let mut runs = 0;
    while start.elapsed() < time {
        let input = change(&mut dice, &seeds);
        let on_panic = FailingInput(name, &input);
        target(&input);
        mem::forget(on_panic);
        runs += 1;
    }
    println!("{name}: {} seeds and {runs} other inputs", seeds.len());
}

/// Prints the input that made a target panic.
struct FailingInput<'a>(&'a str, &'a [u8]);

impl Drop for FailingInput<'_> {
    fn drop(&mut self) {
        let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{} panics with {hex}", self.0);
    }
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let mut seeds: Vec<_> = fs::read_dir(dir.join(name))
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Returns random bytes, or a mutated seed.
fn change(dice: &mut Dice, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut input = Vec::new();
    if dice.roll(4) > 0 && !seeds.is_empty() {
        let (_, seed) = &seeds[dice.roll(seeds.len() as u64) as usize];
        input.clone_from(seed);
    } else {
        let len = dice.roll(MAX_LEN as u64);
        input.extend((0..len).map(|_| dice.roll(256) as u8));
    }
    for _ in 0..dice.roll(8) {
        let at = dice.roll(input.len() as u64 + 1) as usize;
        let byte = dice.roll(256) as u8;
        match dice.roll(4) {
            0 if at < input.len() => input[at] = byte,
            1 if at < input.len() => input[at] ^= 1 << (byte & 7),
            2 => input.truncate(at),
            3 if !seeds.is_empty() => {
                let (_, other) = &seeds[dice.roll(seeds.len() as u64) as usize];
                let from = dice.roll(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.insert(at, byte),
        }
    }
    input.truncate(MAX_LEN);
    input
}

#[test]
fn decoder_for_a_while() {
    run("decoder", decoder);
}

#[test]
fn honest_for_a_while() {
    run("honest", honest);
}

#[test]
fn hostile_for_a_while() {
    run("hostile", hostile);
}
