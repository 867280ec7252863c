//! Finds and parses `.proto` files, and tells cargo which ones were read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use crate::error::{Error, Kind};
use crate::options;
use crate::reason;

/// Parses the files and everything they import.
///
/// Imports are looked up in the includes first, so that a project can have its own `nmfw/options.proto`.
pub(crate) fn parse(protos: &[PathBuf], includes: &[PathBuf]) -> Result<protox::Compiler, Error> {
    let read = Rc::new(RefCell::new(Read::default()));
    let mut resolver = ChainFileResolver::new();
    for include in includes {
        resolver.add(Tracking {
            include: include.clone(),
            inner: IncludeFileResolver::new(include.clone()),
            read: Rc::clone(&read),
        });
    }
    resolver.add(OptionsFile);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    let result = compiler.open_files(protos).map(|_| ());
    // Also when a file is at fault. A file that is missing is not named: cargo would then run the build script every
    // time, and it does so after a failure anyway.
    for path in &read.borrow().paths {
        rerun_if_changed(path);
    }
    match result {
        Ok(()) => Ok(compiler),
        Err(source) => {
            let name = source.file().unwrap_or_default();
            let file = read.borrow_mut().files.remove(name);
            let reason = reason::find(&source, file, compiler.descriptor_pool());
            Err(Kind::Protobuf { source, reason }.into())
        }
    }
}

/// Has cargo run the build script again when the file changes.
#[allow(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]
pub(crate) fn rerun_if_changed(path: &Path) {
    // Elsewhere, as in a test or a tool, nobody reads it.
    let build_script = ["CARGO_MANIFEST_DIR", "OUT_DIR", "TARGET", "HOST"];
    if build_script
        .iter()
        .all(|name| std::env::var_os(name).is_some())
    {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// What was read.
#[derive(Default)]
struct Read {
    paths: BTreeSet<PathBuf>,
    files: BTreeMap<String, File>,
}

/// Files in an include folder; takes down which ones are there.
struct Tracking {
    include: PathBuf,
    inner: IncludeFileResolver,
    read: Rc<RefCell<Read>>,
}

impl FileResolver for Tracking {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.inner.resolve_path(path)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let path = self.include.join(name);
        // Before it is parsed: a file with an error in it is one to watch.
        if path.is_file() {
            self.read.borrow_mut().paths.insert(path.clone());
        }
        // protoc takes a byte order mark, which some editors write; protox does not.
        let source = fs::read_to_string(path).unwrap_or_default();
        let file = match source.strip_prefix('\u{feff}') {
            Some(source) => File::from_source(name, source),
            None => self.inner.open_file(name),
        }?;
        let mut read = self.read.borrow_mut();
        read.files.insert(name.to_owned(), file.clone());
        Ok(file)
    }
}

/// `nmfw/options.proto`, from this crate.
struct OptionsFile;

impl FileResolver for OptionsFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == options::FILE {
            File::from_source(name, options::SOURCE)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}
