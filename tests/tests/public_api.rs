//! Compares the public API of each published crate with its golden file in `tests/public-api`, so
//! that changes are visible in review.
//!
//! Runs with `NMFW_TEST=all` or `NMFW_TEST=api`; with `NMFW_BLESS=1` it writes the files instead.
//! The test reads rustdoc's JSON, whose format changes with Rust releases: with a toolchain that
//! writes another format, it reports that and compares nothing.

#![cfg(test)]
#![cfg(unix)]

use std::{
    collections::HashSet, env, fs, os::unix::fs::PermissionsExt, path::Path, process::Command,
};

use nmfw_tests::{chosen, install::target_dir};
use public_api::Builder;
use serde_json::Value;

const CRATES: [&str; 6] = [
    "nmfw",
    "nmfw-broker",
    "nmfw-build",
    "nmfw-core",
    "nmfw-permissions",
    "nmfw-schema",
];

/// The format that `public-api` reads.
const FORMAT: u64 = 57;

/// A script that runs rustdoc with permission to write JSON on a stable toolchain. Cargo and the
/// compiler run without it, so that nothing is compiled again.
const RUSTDOC: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

#[test]
fn the_public_api_is_as_recorded() {
    if !chosen("api") && !chosen("all") {
        return;
    }
    let rustdoc = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    fs::write(&rustdoc, RUSTDOC).unwrap();
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).unwrap();
    let changed: Vec<_> = CRATES
        .iter()
        .filter_map(|name| changes(name, &rustdoc))
        .collect();
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

/// Returns how the API of a crate differs from its golden file.
fn changes(name: &str, rustdoc: &Path) -> Option<String> {
    let mut api: Value = serde_json::from_slice(&document(name, rustdoc)).unwrap();
    let format = api["format_version"].as_u64();
    if format != Some(FORMAT) {
        eprintln!("NOT RUN: the public API of {name}: rustdoc writes {format:?}, not {FORMAT}");
        return None;
    }
    hide(&mut api["index"]);
    let shown = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    fs::write(&shown, api.to_string()).unwrap();
    let api = Builder::from_rustdoc_json(&*shown)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .unwrap();
    let api: Vec<_> = api.items().map(ToString::to_string).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("public-api/{name}.txt"));
    if env::var_os("NMFW_BLESS").is_some() {
        fs::write(file, api.join("\n") + "\n").unwrap();
        return None;
    }
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    let recorded: Vec<_> = recorded.lines().collect();
    let added = api.iter().filter(|item| !recorded.contains(&item.as_str()));
    let removed = recorded
        .iter()
        .filter(|item| !api.iter().any(|other| other == *item));
    let lines: Vec<_> = added
        .map(|item| format!("+{item}"))
        .chain(removed.map(|item| format!("-{item}")))
        .collect();
    let file = file.display();
    (!lines.is_empty()).then(|| {
        format!(
            "{file} differs; NMFW_BLESS=1 NMFW_TEST=api records it:\n{}",
            lines.join("\n")
        )
    })
}

/// Removes hidden items from all lists. Items that a public `use` re-exports from a hidden module
/// stay, and so does the module that generated code uses.
fn hide(index: &mut Value) {
    let items = index.as_object_mut().unwrap();
    let is_hidden = |item: &Value| {
        let attributes = item["attrs"].as_array().into_iter().flatten();
        let mut texts = attributes.map(Value::to_string);
        texts.any(|text| text.contains("doc(hidden)")) && item["name"] != "codegen"
    };
    let hidden: HashSet<u64> = items
        .values()
        .filter(|item| is_hidden(item))
        .filter_map(|item| item["id"].as_u64())
        .collect();
    items
        .values_mut()
        .for_each(|item| remove(&mut item["inner"], &hidden));
}

/// Removes ids from all lists of ids below a value.
fn remove(value: &mut Value, ids: &HashSet<u64>) {
    match value {
        Value::Array(list) => {
            list.retain(|each| each.as_u64().is_none_or(|id| !ids.contains(&id)));
            list.iter_mut().for_each(|each| remove(each, ids));
        }
        Value::Object(fields) => fields.values_mut().for_each(|each| remove(each, ids)),
        _ => {}
    }
}

/// Returns rustdoc's JSON for a crate.
fn document(name: &str, rustdoc: &Path) -> Vec<u8> {
    let unstable = "-Zunstable-options";
    let status = Command::new(env!("CARGO"))
        .args([
            "rustdoc",
            "--locked",
            "--quiet",
            "--lib",
            "--all-features",
            "--package",
            name,
        ])
        .args([
            "--",
            unstable,
            "--output-format",
            "json",
            "--document-hidden-items",
            "--cap-lints",
            "allow",
        ])
        .env("RUSTDOC", rustdoc)
        .env("CARGO_TARGET_DIR", target_dir())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "{name} cannot be documented: {status}");
    let file = name.replace('-', "_");
    fs::read(target_dir().join(format!("doc/{file}.json"))).unwrap()
}
