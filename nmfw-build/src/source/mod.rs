//! Finds, parses and resolves `.proto` files, and tells cargo which ones were read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorProto;

use crate::adapt::Adapted;
use crate::editions;
use crate::error::Error;
use crate::fault::{Fault, Source};
use crate::options;
use crate::protoc::{self, Protoc, Refused};
use crate::protos::Protos;
use crate::reason;
use crate::well_known;

mod include;
mod link;
mod rewrite;
pub(crate) mod tokens;

use include::Includes;
use link::Linker;

/// Parses the files and everything they import, and has protoc do so where that fails and there is one.
///
/// Imports are looked up in the includes first, so that a project can have its own `nmfw/options.proto`.
pub(crate) fn parse(
    protos: &[PathBuf],
    includes: &[PathBuf],
    protoc: Option<&Path>,
) -> Result<Protos, Error> {
    let mut loader = Loader {
        includes: Includes(includes),
        files: Vec::new(),
        states: HashMap::new(),
        read: BTreeSet::new(),
    };
    let names = loader.names(protos);
    let result = names.and_then(|names| {
        names.iter().try_for_each(|name| loader.load(name))?;
        Ok(names)
    });
    // Also when a file is at fault. A file that is missing is not named: cargo would then run the build script every
    // time, and it does so after a failure anyway.
    for path in &loader.read {
        rerun_if_changed(path);
    }
    let result = result.and_then(|names| loader.resolve(&names));
    let fault = match result {
        Ok(protos) => return Ok(protos),
        Err(fault) => fault,
    };
    ask_protoc(fault, &loader, protos, includes, protoc)
}

/// Has cargo run the build script again when the file changes.
pub(crate) fn rerun_if_changed(path: &Path) {
    tell_cargo(format_args!("rerun-if-changed={}", path.display()));
}

#[allow(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo"
)]
fn tell_cargo(instruction: fmt::Arguments<'_>) {
    // Elsewhere, as in a test or a tool, nobody reads it.
    let build_script = ["CARGO_MANIFEST_DIR", "OUT_DIR", "TARGET", "HOST"];
    if build_script
        .iter()
        .all(|name| std::env::var_os(name).is_some())
    {
        println!("cargo:{instruction}");
    }
}

/// Gives the files to protoc. The fault is the answer where it cannot do better.
fn ask_protoc(
    mut fault: Box<Fault>,
    loader: &Loader<'_>,
    protos: &[PathBuf],
    includes: &[PathBuf],
    chosen: Option<&Path>,
) -> Result<Protos, Error> {
    // Where a file of the build is missing, so it is for protoc.
    let Ok(names) = loader.names(protos) else {
        return Err(fault.into());
    };
    tell_cargo(format_args!("rerun-if-env-changed={}", protoc::VARIABLE));
    let Some(protoc) = Protoc::find(chosen) else {
        if fault.is_limit {
            fault = fault.help(
                "`protoc` can compile this: install it, or say where it is with `Builder::protoc` or the environment variable `PROTOC`",
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
    match protoc.compile(&files, &names, includes) {
        Ok(mut protos) => {
            let all = protos.pool.files();
            let files = all.filter_map(|file| loader.includes.find(file.name()));
            for path in files.filter(|path| !loader.read.contains(path)) {
                rerun_if_changed(&path);
            }
            protos.sources = loader.sources();
            Ok(protos)
        }
        Err(Refused::NotStarted(error)) => Err(fault
            .note(format!(
                "`{program}`, which was chosen as protoc, does not start: {error}"
            ))
            .into()),
        Err(Refused::Errors(text)) if fault.is_limit => Err(fault
            .note(format!("`{program}` refuses it, too: {text}"))
            .into()),
        Err(Refused::Set(error)) if fault.is_limit => Err(error),
        Err(Refused::Unusable | Refused::Errors(_) | Refused::Set(_)) => Err(fault.into()),
    }
}

/// A file that was parsed.
struct Loaded {
    source: Source,
    path: Option<PathBuf>,
    descriptor: FileDescriptorProto,
    edition: Option<i32>,
}

/// How far a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its imports are being loaded.
    Open,
    Done,
}

struct Loader<'a> {
    includes: Includes<'a>,
    /// In an order in which imports come first.
    files: Vec<Loaded>,
    states: HashMap<String, State>,
    /// The files on disk that were read.
    read: BTreeSet<PathBuf>,
}

impl Loader<'_> {
    fn names(&self, protos: &[PathBuf]) -> Result<Vec<String>, Box<Fault>> {
        protos.iter().map(|path| self.includes.name(path)).collect()
    }

    fn sources(&self) -> BTreeMap<String, Arc<str>> {
        let sources = self.files.iter().filter_map(|file| {
            let Source { file, text } = &file.source;
            Some((file.clone(), text.clone()?))
        });
        sources.collect()
    }

    /// Loads a file of the build, and what it imports.
    fn load(&mut self, name: &str) -> Result<(), Box<Fault>> {
        let mut stack = Vec::new();
        if self.states.contains_key(name) {
            return Ok(());
        }
        match self.open(name)? {
            Some(file) => self.load_imports(file, &mut stack),
            None => Err(self
                .includes
                .missing(Fault::new(format!("there is no file `{name}`")), name)),
        }
    }

    fn load_imports(&mut self, file: Loaded, stack: &mut Vec<String>) -> Result<(), Box<Fault>> {
        let name = file.source.file.clone();
        self.states.insert(name.clone(), State::Open);
        stack.push(name.clone());
        let mut seen = BTreeSet::new();
        for (import, index) in file.descriptor.dependency.iter().zip(0..) {
            let at = |fault: Box<Fault>| match import_range(&file, index) {
                Some(range) => fault.at(&file.source, range, "imported here"),
                None => fault,
            };
            if !seen.insert(import) {
                return Err(at(Fault::new(format!("`{import}` is imported twice"))));
            }
            match self.states.get(import) {
                Some(State::Done) => continue,
                Some(State::Open) => {
                    let start = stack.iter().position(|name| name == import).unwrap_or(0);
                    let circle = stack[start..].iter().chain([import]);
                    let circle: Vec<String> = circle.map(|name| format!("`{name}`")).collect();
                    return Err(at(Fault::new("files import each other in a circle"))
                        .note(circle.join(" imports ")));
                }
                None => {}
            }
            let Some(imported) = self.open(import)? else {
                let mut fault = at(Fault::new(format!("there is no file `{import}` to import")));
                fault.is_limit = well_known::is_shipped_with_protoc(import);
                return Err(self.includes.missing(fault, import));
            };
            self.load_imports(imported, stack)?;
        }
        stack.pop();
        self.states.insert(name, State::Done);
        self.files.push(file);
        Ok(())
    }

    /// Reads and parses a file. `None` if there is none.
    fn open(&mut self, name: &str) -> Result<Option<Loaded>, Box<Fault>> {
        let built_in = |descriptor| Loaded {
            source: Source {
                file: name.to_owned(),
                text: None,
            },
            path: None,
            descriptor,
            edition: None,
        };
        if let Some(path) = self.includes.find(name) {
            // Before it is parsed: a file with an error in it is one to watch.
            self.read.insert(path.clone());
            let parsed = read(&path).and_then(|text| parse_source(name, &text));
            return match (parsed, well_known::file(name)) {
                (Ok(file), _) => Ok(Some(Loaded {
                    path: Some(path),
                    ..file
                })),
                // A copy of a file of Google that is too new must not break those who import it.
                (Err(_), Some(descriptor)) => Ok(Some(built_in(descriptor))),
                (Err(fault), None) => Err(fault),
            };
        }
        let shipped = Some(options::SOURCE).filter(|_| name == options::FILE);
        if let Some(source) = shipped.or_else(|| well_known::source(name)) {
            return parse_source(name, source).map(Some);
        }
        Ok(well_known::file(name).map(built_in))
    }

    /// Makes the pool.
    fn resolve(&mut self, names: &[String]) -> Result<Protos, Box<Fault>> {
        let mut protos = Protos::default();
        let mut linker = Linker::default();
        for file in &mut self.files {
            let public = linker.link(&mut file.descriptor);
            let adapted = Adapted::find(&file.descriptor, file.edition, public);
            let added = add(&mut protos.pool, &file.descriptor, &adapted);
            if let Err(error) = added {
                return Err(self.explain(error, &protos.pool));
            }
            let name = file.source.file.clone();
            if adapted.is_needed() {
                protos.adapted.insert(name.clone(), adapted);
            }
            if !names.contains(&name) {
                protos.imported.insert(name);
            }
        }
        protos.sources = self.sources();
        Ok(protos)
    }

    fn explain(&self, error: DescriptorError, pool: &DescriptorPool) -> Box<Fault> {
        let named = |file: &&Loaded| Some(file.source.file.as_str()) == error.file();
        let Some(file) = self.files.iter().find(named) else {
            return Fault::new(error.to_string());
        };
        if let Some(other) = self.same_file(file) {
            let path = file.path.as_deref().unwrap_or(Path::new(""));
            return Fault::new(format!(
                "one file has two names: `{}` is `{}` and `{}`",
                path.display(),
                other.source.file,
                file.source.file
            ))
            .note(format!("include folders are {}", include::list(self.includes.0)))
            .help("keep one of the include folders that it can be reached from, and import it by one name everywhere");
        }
        let error = match &file.source.text {
            Some(text) => error.with_source_code(text),
            None => error,
        };
        let mut fault = Fault::from_diagnostic(&error, &file.source, &|offset| offset);
        // The names of options were made fully qualified.
        fault.message = fault.message.replace("(.", "(");
        fault.help.extend(reason::help(&error, pool));
        fault
    }

    /// The same file under another name.
    fn same_file(&self, file: &Loaded) -> Option<&Loaded> {
        let real = |file: &Loaded| file.path.as_ref()?.canonicalize().ok();
        let path = real(file)?;
        let mut others = self
            .files
            .iter()
            .filter(|other| other.source.file != file.source.file);
        others.find(|other| real(other).as_ref() == Some(&path))
    }
}

fn read(path: &Path) -> Result<String, Box<Fault>> {
    let bytes = fs::read(path)
        .map_err(|error| Fault::new(format!("cannot read `{}`: {error}", path.display())))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // Comments may be in any encoding.
        Err(error) => Some(String::from_utf8_lossy(error.as_bytes()).into_owned())
            .filter(|text| {
                !tokens::tokens(text)
                    .iter()
                    .any(|token| token.text.contains('\u{fffd}'))
            })
            .ok_or_else(|| {
                Fault::new(format!("`{}` is not in UTF-8", path.display())).help("save it in UTF-8")
            })?,
    };
    // Some editors write a byte order mark. protoc takes it, too.
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

fn parse_source(name: &str, text: &str) -> Result<Loaded, Box<Fault>> {
    let source = Source {
        file: name.to_owned(),
        text: Some(Arc::from(text)),
    };
    let rewritten = rewrite::rewrite(text);
    let edition = match rewritten.edition {
        None => None,
        Some(edition) => match editions::number(edition.name) {
            Some(number) => Some(number),
            None => {
                let range = edition.start..edition.start + edition.length;
                return Err(
                    Fault::new(format!("the edition {} is not supported", edition.name))
                        .at(&source, range, "found here")
                        .help(format!(
                            "supported are the editions {}, proto2 and proto3",
                            editions::supported()
                        )),
                );
            }
        },
    };
    let mut descriptor = protox_parse::parse(name, &rewritten.source).map_err(|error| {
        let original = |offset| rewritten.insertions().original(offset);
        Fault::from_diagnostic(&error, &source, &original)
    })?;
    rewritten.restore_positions(&mut descriptor);
    Ok(Loaded {
        source,
        path: None,
        descriptor,
        edition,
    })
}

fn add(
    pool: &mut DescriptorPool,
    file: &FileDescriptorProto,
    adapted: &Adapted,
) -> Result<(), DescriptorError> {
    if adapted.is_needed()
        && let Ok(bytes) = adapted.apply(&file.encode_to_vec())
    {
        return pool.decode_file_descriptor_proto(bytes.as_slice());
    }
    pool.add_file_descriptor_proto(file.clone())
}

/// Where an import stands in the source.
fn import_range(file: &Loaded, index: i32) -> Option<std::ops::Range<usize>> {
    const FILE_DEPENDENCY: i32 = 3;
    let text = file.source.text.as_deref()?;
    let info = file.descriptor.source_code_info.as_ref()?;
    let location = info
        .location
        .iter()
        .find(|location| location.path == [FILE_DEPENDENCY, index])?;
    let (first, last) = match *location.span {
        [line, start, end] => ((line, start), (line, end)),
        [line, start, last, end] => ((line, start), (last, end)),
        _ => return None,
    };
    let offset = |(line, column): (i32, i32)| {
        let lines = text.split_inclusive('\n').take(usize::try_from(line).ok()?);
        Some(lines.map(str::len).sum::<usize>() + usize::try_from(column).ok()?)
    };
    Some(offset(first)?..offset(last)?)
}
