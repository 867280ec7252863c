//! Generates code for one tree of `.proto` files with nmfw-build and with tonic-prost-build, and compares both with
//! the descriptor set that protoc writes.
//!
//! The test `proto_trees` of `nmfw-tests` runs it once for each tree:
//!
//! ```text
//! nmfw-proto-trees FOLDER -Iinclude... file...
//! ```
//!
//! `FOLDER/protoc.fds` is the descriptor set. The program writes `FOLDER/nmfw`, `FOLDER/tonic` and `FOLDER/report.json`.

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

mod items;

use items::Items;

/// The file that includes the code of all packages. A package must not have this name.
const INCLUDE_FILE: &str = "whole_tree.rs";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("no folder is given")?);
    let (includes, files): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.starts_with("-I"));
    let includes: Vec<&str> = includes.iter().map(|include| &include[2..]).collect();

    let set = fs::read(folder.join("protoc.fds"))?;
    let set = FileDescriptorSet::decode(&*set)?;
    let expected = Items::of_set(&set);

    let start = Instant::now();
    let nmfw = generate(&folder.join("nmfw"), |out| {
        let builder = nmfw_build::configure().out_dir(out);
        let builder = builder.include_file(INCLUDE_FILE);
        builder
            .compile_protos(&files, &includes)
            .map_err(|error| format!("{error:?}"))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let tonic = generate(&folder.join("tonic"), |out| {
        let mut config = tonic_prost_build::Config::new();
        config.enable_type_names();
        tonic_prost_build::configure()
            .out_dir(out)
            .emit_rerun_if_changed(false)
            .compile_fds_with_config(set.clone(), config)
            .map_err(|error| error.to_string())
    })?;

    let report = json!({
        "files": files.len(),
        "messages": expected.messages.len(),
        "enums": expected.enums,
        "services": expected.services.len(),
        "methods": expected.methods.len(),
        "seconds": seconds,
        "nmfw": differences(&expected, nmfw),
        "tonic": differences(&expected, tonic),
    });
    fs::write(folder.join("report.json"), report.to_string())?;
    Ok(())
}

/// Runs a generator in an empty folder, and reads its output.
fn generate(
    out: &Path,
    generator: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<Result<Items, String>, Box<dyn Error>> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    // prost-build panics on some names.
    let generated = catch_unwind(AssertUnwindSafe(|| generator(out)))
        .unwrap_or_else(|_| Err("the generator panics".to_owned()));
    if let Err(error) = generated {
        return Ok(Err(error));
    }
    Ok(Ok(Items::of_code(out)?))
}

/// Returns failures, and missing and unexpected items. Empty if everything is as expected.
fn differences(expected: &Items, generated: Result<Items, String>) -> Vec<Value> {
    match generated {
        Ok(generated) => expected.differences(&generated),
        Err(error) => vec![error],
    }
    .into_iter()
    .map(Value::from)
    .collect()
}
