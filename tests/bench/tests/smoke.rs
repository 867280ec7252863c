//! Tests that the suite runs, as briefly as possible: figures must exist, but their values are not
//! checked.

#![cfg(test)]

use std::{collections::HashMap, fs, path::Path, process::Command};

/// Runs the suite and returns `results.csv` as rounds by work, peer and callers.
fn run(out: &Path, args: &str) -> HashMap<(String, String, String), u32> {
    let ended = Command::new(env!("CARGO_BIN_EXE_nmfw-bench"))
        .args(args.split_whitespace())
        .args(["--rounds", "1", "--millis", "100", "--out"])
        .arg(out)
        .env_remove("NMFW_GO_BIN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(!said.contains(" had errors: "), "{said}");
    let text = fs::read_to_string(out.join("results.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("work,peer,callers,payload,per_second,p50_us,p99_us,rounds,spread")
    );
    let rounds = lines.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), 9, "{line}");
        let key = [0, 1, 2].map(|index| fields[index].to_owned());
        assert_eq!(fields[4].is_empty(), fields[7] == "0", "{line}");
        (key.into(), fields[7].parse().unwrap())
    });
    rounds.collect()
}

#[test]
fn quick_measures_the_peers_in_rust() {
    let out = tempfile::tempdir().unwrap();
    let rounds = run(out.path(), "--quick");
    assert_eq!(rounds.len(), 21, "{rounds:?}");
    assert!(rounds.values().all(|rounds| *rounds == 1), "{rounds:?}");
    let text = fs::read_to_string(out.path().join("results.md")).unwrap();
    assert!(text.contains("## Targets") && text.contains("unary-16-rate.svg"));
    assert!(!text.contains("## Not run"), "{text}");
    assert!(out.path().join("unary-16-p50.svg").is_file());
}

#[test]
fn all_work_runs_or_has_a_reason_for_not_running() {
    let out = tempfile::tempdir().unwrap();
    let work = "unary-sleep-10ms,unary-deadline,unary-metadata,server-streaming,client-streaming,\
                bidi-streaming,unary-4-instances,unary-10-clients,unary-embedded,unary-tracing-lines,\
                allocations,memory,startup,growth";
    let counted = ["allocations", "memory", "startup", "growth"];
    let args = format!("--quick --peers nmfw,raw,tonic,go-nmfw --only {work}");
    let rounds = run(out.path(), &args);
    let of = |work: &str, peer: &str| {
        let mut found = rounds
            .iter()
            .filter(|(key, _)| key.0 == work && key.1 == peer);
        *found.next().unwrap().1
    };
    for work in work.split(',').filter(|work| !counted.contains(work)) {
        assert_eq!(of(work, "nmfw"), 1, "{work}");
        assert_eq!(of(work, "go-nmfw"), 0, "{work}");
    }
    assert_eq!(of("server-streaming", "tonic"), 1);
    assert_eq!(of("client-streaming", "raw"), 1);
    assert_eq!(of("bidi-streaming", "raw"), 0);
    let text = fs::read_to_string(out.path().join("results.md")).unwrap();
    assert!(
        text.contains("| go-nmfw | NMFW_GO_BIN is not set to a folder"),
        "{text}"
    );
    let costs = fs::read_to_string(out.path().join("costs.csv")).unwrap();
    for cost in [
        "nmfw,1,16,allocations_server",
        "tonic,200,16,memory_client",
        "raw,1,16,startup_client",
        "nmfw,100,16,services_memory_server",
        "nmfw,100,16,instances_startup_server",
        "nmfw,100,16,methods_p50_1_caller",
        "nmfw,100,16,sessions_startup_clients",
    ] {
        assert!(costs.contains(cost), "{cost}: {costs}");
    }
}

/// Runs the suite with a baseline; returns whether it succeeded, and its output.
fn baseline(flag: &str, file: &Path) -> (bool, String) {
    let out = tempfile::tempdir().unwrap();
    let args = "--only allocations --peers nmfw-local --out";
    let ended = Command::new(env!("CARGO_BIN_EXE_nmfw-bench"))
        .args(args.split_whitespace())
        .arg(out.path())
        .arg(flag)
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.success(), said)
}

#[test]
fn increased_costs_fail() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("baseline.csv");
    let (is_well, said) = baseline("--check", &file);
    assert!(!is_well && said.contains("baseline.csv"), "{said}");

    let (is_well, said) = baseline("--bless", &file);
    assert!(is_well, "{said}");
    let (is_well, said) = baseline("--check", &file);
    assert!(is_well && said.contains("allocations_client"), "{said}");

    // Halves the recorded costs.
    let text = fs::read_to_string(&file).unwrap();
    let halved = text.lines().enumerate().map(|(index, line)| {
        let (front, value) = line.rsplit_once(',').unwrap();
        match value.parse::<f64>() {
            Ok(value) => format!("{front},{}\n", value / 2.0),
            Err(_) => {
                assert_eq!(index, 0, "{line}");
                format!("{line}\n")
            }
        }
    });
    fs::write(&file, halved.collect::<String>()).unwrap();
    let (is_well, said) = baseline("--check", &file);
    assert!(!is_well && said.contains("TOO MUCH"), "{said}");
}
