//! Loads and parses files and their imports, each once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost_types::FileDescriptorProto;

use super::include::Includes;
use super::{rewrite, tokens};
use crate::editions;
use crate::fault::{Fault, Source};
use crate::options;
use crate::well_known;

/// A file that was parsed.
pub(super) struct Loaded {
    pub(super) source: Source,
    /// The file on disk. Built-in files have none.
    pub(super) path: Option<PathBuf>,
    pub(super) descriptor: FileDescriptorProto,
    pub(super) edition: Option<i32>,
}

/// The progress of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The imports of the file are being loaded.
    Open,
    Done,
}

/// The files of a build so far.
pub(super) struct Loader<'a> {
    pub(super) includes: Includes<'a>,
    /// All files, in an order in which imports come first.
    pub(super) files: Vec<Loaded>,
    states: HashMap<String, State>,
    /// The files on disk that were read.
    pub(super) read: BTreeSet<PathBuf>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(includes: &'a [PathBuf]) -> Self {
        Self {
            includes: Includes(includes),
            files: Vec::new(),
            states: HashMap::new(),
            read: BTreeSet::new(),
        }
    }

    /// Returns the names under which the files are imported.
    pub(super) fn names(&self, protos: &[PathBuf]) -> Result<Vec<String>, Box<Fault>> {
        protos.iter().map(|path| self.includes.name(path)).collect()
    }

    /// Returns the authors' sources, by the names of the files.
    pub(super) fn sources(&self) -> BTreeMap<String, Arc<str>> {
        let sources = self.files.iter().filter_map(|file| {
            let Source { file, text } = &file.source;
            Some((file.clone(), text.clone()?))
        });
        sources.collect()
    }

    /// Loads a file of the build and its imports.
    pub(super) fn load(&mut self, name: &str) -> Result<(), Box<Fault>> {
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
                    return Err(at(Fault::new("files import each other in a cycle"))
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

    /// Reads and parses a file. Returns `None` if it does not exist.
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
            // Recorded before parsing, so that a file with an error is watched as well.
            self.read.insert(path.clone());
            let parsed = read(&path).and_then(|text| parse_source(name, &text));
            return match (parsed, well_known::file(name)) {
                (Ok(file), _) => Ok(Some(Loaded {
                    path: Some(path),
                    ..file
                })),
                // A copy of a Google file that is too new must not break files that import it.
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
    // Some editors write a byte order mark, which protoc accepts too.
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
                            "the editions {}, proto2 and proto3 are supported",
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

/// Returns the place of an import in the source.
fn import_range(file: &Loaded, index: i32) -> Option<Range<usize>> {
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
