//! Recorded files. `NMFW_BLESS=1` writes them; review the difference.

use std::env;
use std::fs;
use std::path::PathBuf;

/// Whether recorded files are written instead of compared.
pub(crate) fn is_blessing() -> bool {
    env::var_os("NMFW_BLESS").is_some()
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/compat")
        .join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn write(name: &str, text: &str) {
    fs::write(path(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Compares the text with a recorded file, or records it.
pub(crate) fn compare(name: &str, text: &str) {
    if is_blessing() {
        write(name, text);
    }
    let recorded = read(name);
    if recorded == text {
        return;
    }
    let lines = text.lines().zip(recorded.lines());
    let differing: Vec<_> = lines
        .filter(|(new, old)| new != old)
        .take(10)
        .map(|(new, old)| format!("- {old}\n+ {new}"))
        .collect();
    panic!(
        "{name} differs; if the change is intended, record it with NMFW_BLESS=1\n{}",
        differing.join("\n")
    );
}
