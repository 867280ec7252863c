//! The program `buf`, and its answers.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nmfw_schema::compat::{Finding, Rule};
use serde::Deserialize;

use crate::schema::Files;

/// The version whose answers are recorded.
pub(crate) const VERSION: &str = "1.75.0";

/// The program `buf`.
#[derive(Clone, Debug)]
pub(crate) struct Buf {
    program: PathBuf,
}

impl Buf {
    /// Finds the program that `$NMFW_BUF_BIN` names, or `buf` in `$PATH` with `NMFW_TEST=all`.
    ///
    /// Build it with `GOFLAGS=-mod=mod go install github.com/bufbuild/buf/cmd/buf@v1.75.0`.
    pub(crate) fn find() -> Result<Self, String> {
        let program = match env::var_os("NMFW_BUF_BIN") {
            Some(program) => PathBuf::from(program),
            None if is_all_chosen() => PathBuf::from("buf"),
            None => return Err("NMFW_BUF_BIN does not name the program `buf`".to_owned()),
        };
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{} does not run: {error}", program.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if version != VERSION {
            return Err(format!("buf has the version {version}, not {VERSION}"));
        }
        Ok(Self { program })
    }

    /// Returns the findings of `buf breaking` by the rules of this crate, as
    /// `RULE file:line:column | message`, or why it failed.
    pub(crate) fn breaking(&self, old: &Files, new: &Files) -> Result<BTreeSet<String>, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let [old, new] = [("old", old), ("new", new)].map(|(name, files)| {
            let directory = place.path().join(name);
            write(&directory, files).map(|()| directory)
        });
        let ids: Vec<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        let config = serde_json::json!({"version": "v2", "breaking": {"use": ids}});
        let output = Command::new(&self.program)
            .args(["breaking", ".", "--error-format", "json", "--against"])
            .arg(old?)
            .args(["--config", &config.to_string()])
            .env("BUF_CACHE_DIR", place.path().join("cache"))
            .current_dir(new?)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if !matches!(output.status.code(), Some(0 | 100)) {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                serde_json::from_str::<Annotation>(line)
                    .map_err(|error| format!("{line}: {error}"))
                    .and_then(|annotation| annotation.in_short())
            })
            .collect()
    }

    /// Returns the categories of buf's rules, as `RULE CATEGORY,CATEGORY`.
    pub(crate) fn rules(&self) -> Result<BTreeSet<String>, String> {
        #[derive(Deserialize)]
        struct Listed {
            id: String,
            categories: Vec<String>,
        }
        let output = Command::new(&self.program)
            .args(["config", "ls-breaking-rules", "--version", "v2"])
            .args(["--format", "json"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                let listed: Listed =
                    serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
                Ok(format!("{} {}", listed.id, listed.categories.join(",")))
            })
            .collect()
    }
}

/// Whether `NMFW_TEST` has the word `all`.
fn is_all_chosen() -> bool {
    env::var("NMFW_TEST").is_ok_and(|words| words.split(',').any(|word| word.trim() == "all"))
}

fn write(directory: &Path, files: &Files) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    for (name, text) in files {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        }
        fs::write(path, text).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A line of `buf breaking --error-format json`.
#[derive(Debug, Deserialize)]
struct Annotation {
    path: Option<String>,
    start_line: u32,
    start_column: u32,
    r#type: String,
    message: String,
}

impl Annotation {
    fn in_short(&self) -> Result<String, String> {
        if !Rule::ALL.iter().any(|rule| rule.id() == self.r#type) {
            return Err(format!("buf reports {}", self.r#type));
        }
        let finding = in_short(
            &self.r#type,
            self.path.as_deref(),
            self.start_line,
            self.start_column,
        );
        Ok(format!("{finding} | {}", self.message))
    }
}

/// Returns a finding as [`Buf::breaking`] does, without the message.
pub(crate) fn as_buf(finding: &Finding) -> String {
    let place = finding.new.as_ref();
    in_short(
        finding.rule.id(),
        place.map(|place| place.file.as_str()),
        place.and_then(|place| place.line).unwrap_or(1),
        place.and_then(|place| place.column).unwrap_or(1),
    )
}

/// `RULE file:line:column`. buf gives line 1 and column 1 to findings without a place.
///
/// The columns of two rules are left out: protox begins the place of an option such as `default` at
/// its value, and buf's compiler at its name.
fn in_short(rule: &str, file: Option<&str>, line: u32, column: u32) -> String {
    let of_option = ["FIELD_SAME_DEFAULT", "FIELD_SAME_JSON_NAME"];
    match file {
        Some(file) if (line, column) == (1, 1) => format!("{rule} {file}"),
        Some(file) if of_option.contains(&rule) => format!("{rule} {file}:{line}"),
        Some(file) => format!("{rule} {file}:{line}:{column}"),
        None => rule.to_owned(),
    }
}
