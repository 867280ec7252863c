//! The errors of rustc where generated code cannot be included.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Compiles a crate that depends on nmfw, and returns the output of rustc.
///
/// The crate gets the code generated for these tests, or has no build script.
fn rustc(source: &str, generated: bool) -> Result<String, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("user.rs");
    fs::write(&file, source)?;
    let exe = std::env::current_exe()?;
    let dependencies = exe.parent().ok_or("the test is in no folder")?;
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
        .arg("--out-dir")
        .arg(dir.path())
        .arg("--extern")
        .arg(format!("nmfw={}", newest_nmfw(dependencies)?.display()))
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .arg(&file)
        .env_remove("OUT_DIR")
        .env_remove("NMFW_OUT_DIR");
    if generated {
        let out = env!("OUT_DIR");
        rustc.env("OUT_DIR", out).env("NMFW_OUT_DIR", out);
    }
    let output = rustc.output()?;
    Ok(String::from_utf8(output.stderr)?)
}

/// Finds the library as last built: for these tests or, from the same source, with other features.
fn newest_nmfw(dependencies: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    for entry in fs::read_dir(dependencies)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("libnmfw-") || !name.ends_with(".rlib") {
            continue;
        }
        let modified = entry.metadata()?.modified()?;
        if newest.as_ref().is_none_or(|(time, _)| *time < modified) {
            newest = Some((modified, entry.path()));
        }
    }
    let (_, path) = newest.ok_or("nmfw is not among the dependencies of this test")?;
    Ok(path)
}

/// Returns the messages of the errors, in order.
fn errors(report: &str) -> Vec<&str> {
    let lines = report.lines();
    lines
        .filter(|line| line.starts_with("error") && !line.starts_with("error: aborting"))
        .collect()
}

#[test]
fn generated_code_can_be_included() -> Result<(), Box<dyn Error>> {
    let report = rustc(
        "pub mod calc { nmfw::include_proto!(\"calc\"); }\npub mod all { ::nmfw::include_protos!(); }",
        true,
    )?;
    assert_eq!(report, "");
    Ok(())
}

#[test]
fn a_missing_build_script_is_explained() -> Result<(), Box<dyn Error>> {
    for include in ["include_proto!(\"calc\")", "include_protos!()"] {
        let report = rustc(&format!("pub mod calc {{\n    nmfw::{include};\n}}"), false)?;
        let errors = errors(&report);
        assert_eq!(errors.len(), 1, "{report}");
        assert!(
            errors[0].starts_with("error: no code was generated for this crate: add `nmfw-build` to its [build-dependencies] and a `build.rs`"),
            "{report}"
        );
        assert!(report.contains("user.rs:2:5"), "{report}");
    }
    Ok(())
}

#[test]
fn a_wrong_name_lists_the_existing_packages() -> Result<(), Box<dyn Error>> {
    let source = "pub mod sums { pub mod calc { nmfw::include_proto!(\"calculator\"); } }";
    let report = rustc(source, true)?;
    let errors = errors(&report);
    assert_eq!(errors.len(), 1, "{report}");
    let expected = "error: no code was generated for a package \"calculator\", which is included \
                    in `user::sums::calc`. The packages are ";
    assert!(errors[0].starts_with(expected), "{report}");
    for package in [
        "\"Acme.V1Beta\"",
        "\"calc\"",
        "\"corners.shop\"",
        "\"corners.types\"",
        "\"nmfw.streams\"",
    ] {
        assert!(errors[0].contains(package), "{report}");
    }
    Ok(())
}

#[test]
fn a_missing_package_is_the_first_error() -> Result<(), Box<dyn Error>> {
    let report = rustc(
        "pub mod board { nmfw::include_proto!(\"Acme.V1Beta\"); }",
        true,
    )?;
    let first = report.split("\n\n").next().unwrap_or_default();
    assert!(
        first.contains("too many leading `super` keywords"),
        "{report}"
    );
    assert!(
        first.contains(
            "use super::super::corners::types::Part as _; // Not found? Use `nmfw::include_protos!()`."
        ),
        "{report}"
    );

    // Nested, but without the other package.
    let report = rustc(
        "pub mod acme { pub mod v1_beta { nmfw::include_proto!(\"Acme.V1Beta\"); } }",
        true,
    )?;
    let first = report.split("\n\n").next().unwrap_or_default();
    assert!(
        first.contains("// Not found? Use `nmfw::include_protos!()`."),
        "{report}"
    );
    Ok(())
}
