//! Golden files: the output of commands, without what differs from run to run.

use std::{fs, path::Path};

use crate::program::Output;

/// Compares outputs with a file of `golden`. `ids` are replaced by `INSTANCE-1` and so on, padded to
/// their length.
#[track_caller]
pub(crate) fn check(name: &str, outputs: &[Output], ids: &[&str]) {
    let mut text = String::new();
    for output in outputs {
        text.push_str(&format!("$ nmfw {}\n", output.line));
        text.push_str(&output.stdout);
        for line in output.stderr.lines() {
            text.push_str(&format!("! {line}\n"));
        }
        if output.status != 0 {
            text.push_str(&format!("[exit status {}]\n", output.status));
        }
        text.push('\n');
    }
    for (at, id) in ids.iter().enumerate() {
        let name = format!("INSTANCE-{}", at + 1);
        text = text.replace(id, &format!("{name:<len$}", len = id.len()));
    }
    compare(name, &without_times(&text));
}

/// Compares a text with a file of `golden`.
#[track_caller]
pub(crate) fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli/golden")
        .join(name);
    if std::env::var_os("NMFW_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs: see the comment in main.rs");
}

/// Replaces durations such as `1.25 ms` by `TIME`, with the spaces before them, by which they are
/// aligned.
fn without_times(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let is_unit = |at: usize| {
            let unit = words.get(at).map(|unit| unit.trim_end_matches([',', ')']));
            unit.is_some_and(|unit| ["ns", "µs", "ms", "s"].contains(&unit))
        };
        let mut kept: Vec<&str> = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let is_number = word.parse::<f64>().is_ok();
            let joined = word
                .strip_suffix("ms):")
                .or_else(|| word.strip_suffix("µs):"));
            if joined.is_some_and(|number| number.parse::<f64>().is_ok()) {
                kept.push("TIME):");
            } else if *word == "TIME" {
                // A title, aligned like its column.
                while kept.last().is_some_and(|word| word.is_empty()) {
                    kept.pop();
                }
                kept.push(word);
            } else if is_number && is_unit(at + 1) {
                while kept.last().is_some_and(|word| word.is_empty()) {
                    kept.pop();
                }
                kept.push("TIME");
                at += 1;
            } else {
                kept.push(word);
            }
            at += 1;
        }
        lines.push(kept.join(" "));
    }
    lines.join("\n") + "\n"
}
