//! The builder: everything about generation that can be chosen.

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

/// Chooses what is generated, and how. Made by [`configure`](crate::configure).
///
/// Paths of the methods that take one are Protobuf paths as [`prost_build::Config`] matches them: `.` is everything,
/// `.calc.AddRequest` one message, `.calc.AddRequest.values` one field, `values` every field of that name.
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

    /// Writes the code to a folder of your choice instead of `OUT_DIR`. It is created where it is missing.
    pub fn out_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(path.into());
        self
    }

    /// Also writes one file that holds all packages as nested modules, for code in a folder of your choice.
    ///
    /// In `OUT_DIR` there is always such a file: `nmfw::include_protos!()` includes it. The name is relative to the folder
    /// of the code, and must not be the name of a package's file. Include the file in a module of its own:
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
    /// A set that code is generated from is written as it is. Sets made of `.proto` files lack extensions of message sets.
    pub fn file_descriptor_set_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.file_descriptor_set_path = Some(path.into());
        self
    }

    /// Also writes the least NATS permissions of each service and of its clients, to a folder or as
    /// [`PermissionFiles`] says. What they allow, and how to use them, is told in `nmfw::permissions`.
    ///
    /// A service `calc` gets these files, each as nats-server configuration, `.conf`, and as a script with `nsc`
    /// commands, `.nsc.sh`:
    ///
    /// | file | of |
    /// |---|---|
    /// | `calc.service` | who serves it |
    /// | `calc.client` | who calls all of its methods |
    /// | `calc.observer` | who looks at it with `nats micro` |
    /// | `calc.exports`, `calc.imports`, `calc.importer` | other accounts and who calls it there: [`PermissionFiles::exported_by`] |
    ///
    /// They are for subjects, names and queue groups as in the `.proto`: what a program sets when it runs is not known
    /// here.
    ///
    /// ```
    /// let builder = nmfw_build::configure().permissions("deploy/permissions");
    /// # let _ = builder;
    /// ```
    pub fn permissions(mut self, files: impl Into<PermissionFiles>) -> Self {
        self.permissions = Some(files.into());
        self
    }

    /// Uses Rust types from elsewhere for a Protobuf package or type, and generates none for it.
    ///
    /// Services are generated all the same, from files that are compiled and not only imported: so a crate can have the
    /// messages, and another one the services. The messages have to be prost's.
    ///
    /// The Protobuf path is fully qualified, with a dot in front: `.extern_path(".acme.common", "::acme_common")`.
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

    /// Names the Rust items that are generated for a service.
    ///
    /// `.rename_service(".acme.Agent", "AgentRpc")` gives the trait `AgentRpc` with `AgentRpcServer`, `AgentRpcClient` and
    /// `AGENT_RPC_SPEC`. Names on NATS stay as they are. Without it, a name that a message or an enum has already gets an
    /// underscore behind it: beside a message `AgentClient`, the client of `Agent` is `AgentClient_`.
    ///
    /// The Protobuf path is fully qualified, with a dot in front. It is an error if there is no such service or if the
    /// names are taken.
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

    /// Uses `BTreeMap` for `map` fields, which has an order.
    pub fn btree_map<S: AsRef<str>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.config.btree_map(paths);
        self
    }

    /// Changes the underlying prost-build configuration, for what has no method here.
    ///
    /// Its settings for the output folder, for the include file, for file names, for formatting, for `protoc` and its
    /// service generator have no effect.
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
        // prost-build tells its settings to nobody, but prints them.
        let settings = format!("{:?}", self.config);
        self.settings.strip_enum_prefix = !settings.contains("strip_enum_prefix: false");
        self
    }

    /// Whether clients are generated. They are by default.
    pub fn build_client(mut self, enable: bool) -> Self {
        self.settings.client = enable;
        self
    }

    /// Whether servers are generated. They are by default. Without them clients have no `local` constructor.
    pub fn build_server(mut self, enable: bool) -> Self {
        self.settings.server = enable;
        self
    }

    /// The first part of the subject of all services that do not set their own. By default `nmfw`; none if empty.
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.subject_prefix = prefix.into();
        self
    }

    /// The version of all services that do not set their own, a semantic version. By default that of the crate.
    pub fn service_version(mut self, version: impl Into<String>) -> Self {
        self.settings.service_version = version.into();
        self
    }

    /// The path of the `nmfw` crate, for those who renamed it or use it through another crate.
    ///
    /// By default `::nmfw`. It begins with `::` or `crate::`, since generated code is in nested modules.
    pub fn runtime_path(mut self, path: impl Into<String>) -> Self {
        self.settings.runtime_path = path.into();
        self
    }

    /// Uses this `protoc` for files that cannot be parsed without it.
    ///
    /// Few files need one, and their error says so. By default the environment variable `PROTOC` names the program, or
    /// it is looked up in `PATH`. It is not started for files that compile without it.
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
    /// The files are parsed here, without `protoc`: proto2, proto3 and the editions 2023, 2024 and 2026. The well-known
    /// files of Google and `nmfw/options.proto` are always found. In a build script, cargo is told to run it again when
    /// one of the files read changes. Files that cannot be parsed here are given to [`protoc`](Self::protoc), if there
    /// is one.
    ///
    /// # Errors
    /// A file is missing or does not compile, a service is not valid, a setting is not, or the code cannot be written.
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

    /// Generates code for a descriptor set that is at hand as a value.
    ///
    /// `prost_types` has no place for options it does not know, so the options of `nmfw/options.proto` and the features of
    /// editions are already lost here; use [`compile_fds_bytes`](Self::compile_fds_bytes) or [`compile_fds_file`](Self::compile_fds_file) for files
    /// that use them.
    ///
    /// # Errors
    /// As [`compile_protos`](Self::compile_protos); also if a file is of an edition or imports `nmfw/options.proto`, since
    /// ignoring its features and options silently would be worse.
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

    /// Generates code for an encoded `FileDescriptorSet`, as `protoc --include_imports --include_source_info -o` writes it.
    ///
    /// Without the source information, there are no comments in the code and no lines in errors.
    ///
    /// # Errors
    /// As [`compile_protos`](Self::compile_protos); also if the set is damaged or an imported file is not in it.
    pub fn compile_fds_bytes(self, set: &[u8]) -> Result<(), Error> {
        self.compile(&descriptor_set::read(set)?)
    }

    /// Generates code for a file with an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// As [`compile_fds_bytes`](Self::compile_fds_bytes); also if the file cannot be read.
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
            // Messages know their names, so that any can be a detail of a status.
            .enable_type_names()
            .type_name_domain(["."], "type.googleapis.com");
        Ok(Target {
            runtime,
            // Names, shapes and comments are the `.proto`'s, and a program need not use all there is. The attribute is on
            // each item since a file that is included cannot begin with one for all.
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
