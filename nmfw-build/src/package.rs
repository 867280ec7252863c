//! The code of a package, and the folder that it goes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The code of one package.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// The path of its module, from the outermost one.
    pub(crate) modules: Vec<String>,
    /// The name in the `.proto`.
    pub(crate) name: String,
    /// The name of its file, without `.rs`.
    pub(crate) file_stem: String,
    pub(crate) code: String,
    /// The `.proto` files that it was generated from.
    pub(crate) files: BTreeSet<String>,
    /// Whether the code of another package includes it.
    pub(crate) nested: bool,
}

/// The output folder.
pub(crate) enum OutDir {
    /// The folder from cargo's `OUT_DIR`.
    Cargo(PathBuf),
    /// A folder that the user chose.
    Chosen(PathBuf),
}

impl OutDir {
    /// Finds the output folder.
    ///
    /// # Errors
    /// Fails if no folder was chosen and cargo sets none.
    pub(crate) fn find(chosen: Option<&Path>) -> Result<Self, Error> {
        let cargo = std::env::var_os("OUT_DIR").map(PathBuf::from);
        match (chosen, cargo) {
            // The runtime's macros find this folder, even if it was chosen explicitly.
            (Some(path), Some(dir)) if *path == dir => Ok(Self::Cargo(dir)),
            (Some(path), _) => Ok(Self::Chosen(path.to_owned())),
            (None, Some(dir)) => Ok(Self::Cargo(dir)),
            (None, None) => Err(Error::config(
                "there is no folder for the generated code, because OUT_DIR is not set: run this \
                 in a build script, or set a folder with `out_dir`",
            )),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Cargo(path) | Self::Chosen(path) => path,
        }
    }

    /// Returns the line that includes the file of a package in another generated file.
    pub(crate) fn include(&self, file_stem: &str) -> String {
        match self {
            Self::Cargo(_) => {
                format!("include!(concat!(env!(\"OUT_DIR\"), \"/{file_stem}.rs\"));")
            }
            Self::Chosen(_) => format!("include!(\"{file_stem}.rs\");"),
        }
    }
}
