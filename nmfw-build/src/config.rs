//! The builder: the settings of generation.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;
use syn::parse_quote;

use crate::descriptor_set;
use crate::emit::Target;
use crate::error::Error;
use crate::extern_path;
use crate::generator;
use crate::model::{self, Settings};
use crate::names;
use crate::options;
use crate::output::{self, OutDir};
use crate::permissions::PermissionFiles;
use crate::protos::Protos;
use crate::source;

/// Settings of the generated code. Created by [`configure`](crate::configure).
///
/// Methods with paths take Protobuf paths as matched by [`prost_build::Config`]: `.` is everything,
/// `.calc.AddRequest` one message, `.calc.AddRequest.values` one field, `values` every field of
/// that name.
///
/// ```no_run
/// fn main() -> Result<(), nmfw_build::Error> {
///     nmfw_build::configure()
///         .type_attribute(".acme.Money", "#[derive(PartialOrd)]")
///         .bytes(["."])
///         .compile_protos(&["proto/acme/billing.proto"], &["proto"])
/// }
/// ```
#[must_use = "nothing is generated until one of the `compile` methods is called"]
pub struct Builder {
    config: prost_build::Config,
    out_dir: Option<PathBuf>,
    include_file: Option<PathBuf>,
    file_descriptor_set_path: Option<PathBuf>,
    permissions: Option<PermissionFiles>,
    protoc: Option<PathBuf>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            config: prost_build::Config::new(),
            out_dir: None,
            include_file: None,
            file_descriptor_set_path: None,
            permissions: None,
            protoc: None,
            settings: Settings {
                client: true,
                server: true,
                subject_prefix: "nmfw".to_owned(),
                service_version: std::env::var("CARGO_PKG_VERSION")
                    .unwrap_or_else(|_| "0.0.0".to_owned()),
                runtime_path: "::nmfw".to_owned(),
                extern_paths: Vec::new(),
                service_names: Vec::new(),
                strip_enum_prefix: true,
            },
        }
    }

    /// Writes the code to this folder instead of `OUT_DIR`. The folder is created if it is missing.
    pub fn out_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(path.into());
        self
    }

    /// Also writes one file that includes all packages as nested modules, for code in a folder of
    /// your choice.
    ///
    /// `OUT_DIR` always contains such a file, which `nmfw::include_protos!()` includes. The name is
    /// relative to the folder of the code, and must not be the name of a package's file. Include
    /// the file in a module:
    ///
    /// ```text
    /// mod protos {
    ///     include!("generated/protos.rs");
    /// }
    /// ```
    pub fn include_file(mut self, name: impl Into<PathBuf>) -> Self {
        self.include_file = Some(name.into());
        self
    }

    /// Also writes the encoded `FileDescriptorSet`, with all imports, comments and options.
    ///
    /// A set that is the input is written unchanged. Sets made from `.proto` files lack extensions
    /// of message sets.
    pub fn file_descriptor_set_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.file_descriptor_set_path = Some(path.into());
        self
    }

    /// Also writes the least NATS permissions of each service and of its clients, to a folder or as
    /// [`PermissionFiles`] specifies. `nmfw::permissions` explains what they allow and how to use
    /// them.
    ///
    /// A service `calc` gets these files, each as nats-server configuration (`.conf`) and as a
    /// script with `nsc` commands (`.nsc.sh`):
    ///
    /// | file | content |
    /// |---|---|
    /// | `calc.service` | permissions to serve it |
    /// | `calc.client` | permissions to call all of its methods |
    /// | `calc.observer` | permissions to inspect it with `nats micro` |
    /// | `calc.exports`, `calc.imports`, `calc.importer` | for other accounts: exports, imports, and permissions of clients there; see [`PermissionFiles::exported_by`] |
    ///
    /// The files are for subjects, names and queue groups as in the `.proto`, because settings that
    /// a program makes at run time are not known here.
    ///
    /// ```
    /// let builder = nmfw_build::configure().permissions("deploy/permissions");
    /// # let _ = builder;
    /// ```
    pub fn permissions(mut self, files: impl Into<PermissionFiles>) -> Self {
        self.permissions = Some(files.into());
        self
    }

    /// Uses existing Rust types for a Protobuf package or type instead of generating them.
    ///
    /// Services are still generated from files that are compiled and not only imported, so one
    /// crate can contain the messages, and another one the services. The messages have to be
    /// prost's.
    ///
    /// The Protobuf path is fully qualified, with a leading dot:
    /// `.extern_path(".acme.common", "::acme_common")`.
    pub fn extern_path(
        mut self,
        proto_path: impl Into<String>,
        rust_path: impl Into<String>,
    ) -> Self {
        let proto_path = proto_path.into();
        let rust_path = rust_path.into();
        let paths = (proto_path.clone(), rust_path.clone());
        self.settings.extern_paths.push(paths);
        self.config.extern_path(proto_path, rust_path);
        self
    }

    /// Sets the Rust names of a service.
    ///
    /// `.rename_service(".acme.Agent", "AgentRpc")` generates the trait `AgentRpc` with
    /// `AgentRpcServer`, `AgentRpcClient` and `AGENT_RPC_SPEC`. Names on NATS stay the same.
    /// Without it, a name that a message or an enum already has gets a trailing underscore: beside
    /// a message `AgentClient`, the client of `Agent` is `AgentClient_`.
    ///
    /// The Protobuf path is fully qualified, with a leading dot. It is an error if there is no such
    /// service or if the names are taken.
    ///
    /// ```
    /// let builder = nmfw_build::configure().rename_service(".acme.Agent", "AgentRpc");
    /// # let _ = builder;
    /// ```
    pub fn rename_service(
        mut self,
        proto_path: impl Into<String>,
        rust_name: impl Into<String>,
    ) -> Self {
        let names = (proto_path.into(), rust_name.into());
        self.settings.service_names.push(names);
        self
    }

    /// Adds an attribute to messages, enums and oneofs.
    pub fn type_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.config.type_attribute(path, attribute);
        self
    }

    /// Adds an attribute to messages.
    pub fn message_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.config.message_attribute(path, attribute);
        self
    }

    /// Adds an attribute to enums and oneofs.
    pub fn enum_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.config.enum_attribute(path, attribute);
        self
    }

    /// Adds an attribute to fields.
    pub fn field_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.config.field_attribute(path, attribute);
        self
    }

    /// Uses `bytes::Bytes` for `bytes` fields, which shares a received buffer instead of copying it.
    pub fn bytes<S: AsRef<str>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.config.bytes(paths);
        self
    }

    /// Uses the ordered `BTreeMap` for `map` fields.
    pub fn btree_map<S: AsRef<str>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.config.btree_map(paths);
        self
    }

    /// Changes the underlying prost-build configuration, for settings without a method here.
    ///
    /// Its settings for the output folder, the include file, file names, formatting and `protoc`,
    /// and its service generator, have no effect.
    ///
    /// ```
    /// let builder = nmfw_build::configure().prost_config(|config| {
    ///     config.boxed(".acme.Node.next");
    ///     config.enable_type_names();
    /// });
    /// # let _ = builder;
    /// ```
    pub fn prost_config(mut self, change: impl FnOnce(&mut prost_build::Config)) -> Self {
        change(&mut self.config);
        // prost-build has no getters for its settings, but its `Debug` output shows them.
        let settings = format!("{:?}", self.config);
        self.settings.strip_enum_prefix = !settings.contains("strip_enum_prefix: false");
        self
    }

    /// Sets whether clients are generated. The default is true.
    pub fn build_client(mut self, enable: bool) -> Self {
        self.settings.client = enable;
        self
    }

    /// Sets whether servers are generated. The default is true. Without them, clients have no
    /// `local` constructor.
    pub fn build_server(mut self, enable: bool) -> Self {
        self.settings.server = enable;
        self
    }

    /// Sets the first part of the subject of all services that do not set their own. The default is
    /// `nmfw`; an empty prefix is left out.
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.subject_prefix = prefix.into();
        self
    }

    /// Sets the semantic version of all services that do not set their own. The default is the
    /// version of the crate.
    pub fn service_version(mut self, version: impl Into<String>) -> Self {
        self.settings.service_version = version.into();
        self
    }

    /// Sets the path of the `nmfw` crate, if it is renamed or re-exported by another crate.
    ///
    /// The default is `::nmfw`. The path begins with `::` or `crate::`, because generated code is
    /// in nested modules.
    pub fn runtime_path(mut self, path: impl Into<String>) -> Self {
        self.settings.runtime_path = path.into();
        self
    }

    /// Uses this `protoc` for files that nmfw-build cannot parse.
    ///
    /// Few files need it, and their error says so. By default the program is named by the
    /// environment variable `PROTOC`, or found in `PATH`. It is not started for files that compile
    /// without it.
    ///
    /// ```
    /// let builder = nmfw_build::configure().protoc("/opt/protoc/bin/protoc");
    /// # let _ = builder;
    /// ```
    pub fn protoc(mut self, program: impl Into<PathBuf>) -> Self {
        self.protoc = Some(program.into());
        self
    }

    /// Generates code for the files and everything they import.
    ///
    /// nmfw-build parses the files itself, without `protoc`: proto2, proto3 and the editions 2023,
    /// 2024 and 2026. Google's well-known files and `nmfw/options.proto` are always found. In a
    /// build script, cargo reruns it when one of the files read changes. Files that cannot be
    /// parsed here are passed to [`protoc`](Self::protoc), if it is installed.
    ///
    /// # Errors
    /// Fails if a file is missing or does not compile, if a service or a setting is invalid, or if
    /// the code cannot be written.
    pub fn compile_protos(
        self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let protos: Vec<PathBuf> = protos.iter().map(|path| path.as_ref().to_owned()).collect();
        let includes: Vec<PathBuf> = includes
            .iter()
            .map(|path| path.as_ref().to_owned())
            .collect();
        let protos = source::parse(&protos, &includes, self.protoc.as_deref())?;
        self.compile(&protos)
    }

    /// Generates code from a decoded descriptor set.
    ///
    /// `prost_types` does not represent unknown options, so the options of `nmfw/options.proto` and
    /// the features of editions are already lost here; use
    /// [`compile_fds_bytes`](Self::compile_fds_bytes) or
    /// [`compile_fds_file`](Self::compile_fds_file) for files that use them.
    ///
    /// # Errors
    /// Fails like [`compile_protos`](Self::compile_protos), and if a file is of an edition or
    /// imports `nmfw/options.proto`, whose features and options would otherwise be ignored
    /// silently.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "as prost-build and tonic-build have it, for a set that is made for this call"
    )]
    pub fn compile_fds(self, set: FileDescriptorSet) -> Result<(), Error> {
        for file in &set.file {
            if file.syntax() == "editions" {
                return Err(Error::config(format!(
                    "`{}` is of an edition, and a decoded FileDescriptorSet has lost which one. Give the encoded set to `compile_fds_bytes` or `compile_fds_file` instead",
                    file.name(),
                )));
            }
            if file.dependency.iter().any(|import| import == options::FILE) {
                return Err(Error::config(format!(
                    "`{}` uses `{}`, and a decoded FileDescriptorSet has lost its options. Give the encoded set to `compile_fds_bytes` or `compile_fds_file` instead",
                    file.name(),
                    options::FILE,
                )));
            }
        }
        self.compile_fds_bytes(&set.encode_to_vec())
    }

    /// Generates code from an encoded `FileDescriptorSet`, as written by
    /// `protoc --include_imports --include_source_info -o`.
    ///
    /// Without source information, the code has no comments and errors have no lines.
    ///
    /// # Errors
    /// Fails like [`compile_protos`](Self::compile_protos), and if the set is damaged or lacks an
    /// imported file.
    pub fn compile_fds_bytes(self, set: &[u8]) -> Result<(), Error> {
        self.compile(&descriptor_set::read(set)?)
    }

    /// Generates code from a file with an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// Fails like [`compile_fds_bytes`](Self::compile_fds_bytes), and if the file cannot be read.
    pub fn compile_fds_file(self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        source::rerun_if_changed(path);
        let set = fs::read(path).map_err(|error| Error::io("read", path, error))?;
        self.compile_fds_bytes(&set)
    }

    fn compile(mut self, protos: &Protos) -> Result<(), Error> {
        let target = self.target()?;
        self.check_settings()?;
        extern_path::check(&protos.pool, &self.settings)?;
        let dir = OutDir::find(self.out_dir.as_deref())?;
        let services = model::build(protos, &self.settings)?;
        let packages = generator::generate(
            protos,
            &mut self.config,
            &services,
            &self.settings,
            &target,
            &dir,
        )?;
        output::write(&dir, &packages, self.include_file.as_deref())?;
        if let Some(path) = &self.file_descriptor_set_path {
            output::write_if_changed(path, &protos.encoded_set())?;
        }
        if let Some(files) = &self.permissions {
            files.write(&services)?;
        }
        Ok(())
    }

    fn target(&mut self) -> Result<Target, Error> {
        let path = &self.settings.runtime_path;
        let seam = format!("{path}::codegen::v1");
        let runtime: Option<syn::Path> = syn::parse_str(&seam).ok();
        let runtime = runtime
            .filter(|parsed| {
                let first = parsed.segments.first();
                parsed.leading_colon.is_some() || first.is_some_and(|first| first.ident == "crate")
            })
            .ok_or_else(|| {
                Error::config(format!(
                    "the runtime path `{path}` is no absolute path: it begins with `::` or `crate::`"
                ))
            })?;
        self.config
            .prost_path(format!("{seam}::prost"))
            .prost_types_path(format!("{seam}::prost_types"))
            // Messages need their names to serve as details of a status.
            .enable_type_names()
            .type_name_domain(["."], "type.googleapis.com");
        Ok(Target {
            runtime,
            // Names, shapes and comments come from the `.proto`, and a program need not use all
            // items. The attribute is on each item because an included file cannot begin with an
            // inner attribute.
            allow: parse_quote!(#[allow(dead_code, deprecated, missing_docs, unreachable_pub, clippy::all)]),
            client: self.settings.client,
            server: self.settings.server,
        })
    }

    fn check_settings(&self) -> Result<(), Error> {
        let Settings {
            subject_prefix,
            service_version,
            ..
        } = &self.settings;
        if !subject_prefix.is_empty()
            && let Err(reason) = names::check_subject(subject_prefix)
        {
            return Err(Error::config(format!(
                "the subject prefix {subject_prefix:?} {reason}"
            )));
        }
        if let Err(reason) = semver::Version::parse(service_version) {
            return Err(Error::config(format!(
                "the service version {service_version:?} is no semantic version: {reason}"
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("out_dir", &self.out_dir)
            .field("include_file", &self.include_file)
            .field("permissions", &self.permissions)
            .field("protoc", &self.protoc)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
