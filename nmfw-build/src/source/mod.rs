//! Finds, parses and resolves `.proto` files, and reports the files that were read to cargo.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fault::Fault;
use crate::protoc::{self, Protoc, Refused};
use crate::protos::Protos;

mod include;
mod link;
mod load;
mod resolve;
mod rewrite;
pub(crate) mod tokens;

use load::Loader;
use resolve::resolve;

/// Parses the files and their imports, and falls back to protoc, if it is installed.
///
/// Imports are looked up in the includes first, so that a project can have its own `nmfw/options.proto`.
pub(crate) fn parse(
    protos: &[PathBuf],
    includes: &[PathBuf],
    protoc: Option<&Path>,
) -> Result<Protos, Error> {
    let mut loader = Loader::new(includes);
    let names = loader.names(protos);
    let result = names.and_then(|names| {
        names.iter().try_for_each(|name| loader.load(name))?;
        Ok(names)
    });
    // Done even after a failure. A missing file is not listed: cargo would then run the build
    // script every time, and it does so after a failure anyway.
    for path in &loader.read {
        rerun_if_changed(path);
    }
    let result = result.and_then(|names| {
        resolve(
            &mut loader.files,
            &names.into_iter().collect(),
            &loader.includes,
        )
    });
    let fault = match result {
        Ok(mut protos) => {
            protos.sources = loader.sources();
            return Ok(protos);
        }
        Err(fault) => fault,
    };
    ask_protoc(fault, &loader, protos, includes, protoc)
}

/// Instructs cargo to run the build script again when the file changes.
pub(crate) fn rerun_if_changed(path: &Path) {
    tell_cargo(format_args!("rerun-if-changed={}", path.display()));
}

#[allow(
    clippy::print_stdout,
    reason = "a build script passes instructions to cargo on standard output"
)]
fn tell_cargo(instruction: fmt::Arguments<'_>) {
    // Outside of a build script, as in a test or a tool, cargo does not read this output.
    let build_script = ["CARGO_MANIFEST_DIR", "OUT_DIR", "TARGET", "HOST"];
    if build_script
        .iter()
        .all(|name| std::env::var_os(name).is_some())
    {
        println!("cargo:{instruction}");
    }
}

/// Passes the files to protoc. Returns the fault if protoc cannot do better.
fn ask_protoc(
    mut fault: Box<Fault>,
    loader: &Loader<'_>,
    protos: &[PathBuf],
    includes: &[PathBuf],
    chosen: Option<&Path>,
) -> Result<Protos, Error> {
    // A missing file of the build would be missing for protoc, too.
    let Ok(names) = loader.names(protos) else {
        return Err(fault.into());
    };
    tell_cargo(format_args!("rerun-if-env-changed={}", protoc::VARIABLE));
    let Some(protoc) = Protoc::find(chosen) else {
        if fault.is_limit {
            fault = fault.help(
                "`protoc` can compile this file: install it, or set its path with \
                 `Builder::protoc` or the environment variable `PROTOC`",
            );
        }
        return Err(fault.into());
    };
    let files: Vec<PathBuf> = names
        .iter()
        .zip(protos)
        .map(|(name, given)| loader.includes.find(name).unwrap_or_else(|| given.clone()))
        .collect();
    let program = protoc.program().display();
    match protoc.compile(&files, &names.into_iter().collect(), includes) {
        Ok(mut protos) => {
            let all = protos.pool.files();
            let files = all.filter_map(|file| loader.includes.find(file.name()));
            for path in files.filter(|path| !loader.read.contains(path)) {
                rerun_if_changed(&path);
            }
            protos.sources = loader.sources();
            Ok(protos)
        }
        Err(Refused::NotRun(error)) => Err(fault
            .note(format!(
                "cannot run `{program}`, which is set as protoc: {error}"
            ))
            .into()),
        Err(Refused::Errors(text)) if fault.is_limit => Err(fault
            .note(format!("`{program}` also reports an error: {text}"))
            .into()),
        Err(Refused::Set(error)) if fault.is_limit => Err(error),
        Err(Refused::Unusable | Refused::Errors(_) | Refused::Set(_)) => Err(fault.into()),
    }
}
