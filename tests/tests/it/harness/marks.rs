//! Checks that each place that marks a status as not started explains why that is true.

use std::{fs, path::Path};

/// Maximum number of lines between the mark and its explanation.
const ABOVE: usize = 4;

/// Collects the places without an explanation, and counts the others.
fn look(folder: &Path, bad: &mut Vec<String>) -> usize {
    let mut good = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" && name != "fuzzing" {
                good += look(&path, bad);
            }
            continue;
        }
        if !name.ends_with(".rs") || name == "tests.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<_> = code.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let is_mark = line.contains(".not_started()") || line.contains("(Status::not_started)");
            if !is_mark || line.starts_with("//") {
                continue;
            }
            let above = &lines[number.saturating_sub(ABOVE)..number];
            if above
                .iter()
                .any(|line| line.starts_with("// Not started: "))
            {
                good += 1;
            } else {
                bad.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    good
}

#[test]
fn each_mark_has_an_explanation() {
    let mut bad = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut good = 0;
    for part in ["nmfw-core/src", "nmfw/src"] {
        good += look(&root.join(part), &mut bad);
    }
    assert!(
        bad.is_empty(),
        "a comment `// Not started: ..` must explain why no handler can have run: {bad:#?}"
    );
    assert!(good > 40, "only {good} places were found");
}
