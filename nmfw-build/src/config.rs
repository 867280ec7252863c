//! The builder: the settings of generation.

use std::fmt;
use std::path::PathBuf;

use crate::permissions::PermissionFiles;
use crate::settings::Settings;

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
    pub(crate) config: prost_build::Config,
    pub(crate) out_dir: Option<PathBuf>,
    pub(crate) include_file: Option<PathBuf>,
    pub(crate) file_descriptor_set_path: Option<PathBuf>,
    pub(crate) permissions: Option<PermissionFiles>,
    pub(crate) protoc: Option<PathBuf>,
    pub(crate) type_names: bool,
    pub(crate) settings: Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut config = prost_build::Config::new();
        config.type_name_domain(["."], "type.googleapis.com");
        Self {
            config,
            out_dir: None,
            include_file: None,
            file_descriptor_set_path: None,
            permissions: None,
            protoc: None,
            type_names: true,
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
                without_comments: Vec::new(),
                client_attributes: Vec::new(),
                server_attributes: Vec::new(),
                trait_attributes: Vec::new(),
                default_stubs: false,
                descriptor_set: false,
                schema: true,
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

    /// Adds a constant `FILE_DESCRIPTOR_SET` to the module of each package: the encoded
    /// `FileDescriptorSet` of all files of this call, with their imports, for
    /// `ServiceSpec::from_descriptors` and for reflection. The default is false.
    ///
    /// ```
    /// let builder = nmfw_build::configure().file_descriptor_set(true);
    /// # let _ = builder;
    /// ```
    pub fn file_descriptor_set(mut self, enable: bool) -> Self {
        self.settings.descriptor_set = enable;
        self
    }

    /// Sets whether services carry their schema: the descriptors of the service's file and its
    /// imports, with comments, compressed to a few kilobytes. The default is true.
    ///
    /// Instances serve it, so that tools describe and call the service without its `.proto`, and it
    /// is what `nmfw` converts JSON with. Disable it for services whose `.proto` is confidential.
    ///
    /// The schema is in a file beside the code, such as `calc.Calc.schema`, which the code includes.
    ///
    /// ```
    /// let builder = nmfw_build::configure().embed_schema(false);
    /// # let _ = builder;
    /// ```
    pub fn embed_schema(mut self, enable: bool) -> Self {
        self.settings.schema = enable;
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

    /// Adds an attribute to the clients of services. A `#[cfg(..)]` applies to all items of the
    /// client.
    ///
    /// ```
    /// let builder = nmfw_build::configure()
    ///     .client_attribute(".acme", r#"#[cfg(feature = "client")]"#);
    /// # let _ = builder;
    /// ```
    pub fn client_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        let attribute = (path.into(), attribute.into());
        self.settings.client_attributes.push(attribute);
        self
    }

    /// Adds an attribute to the servers of services. A `#[cfg(..)]` applies to all items of the
    /// server, and to the client's `local`.
    pub fn server_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        let attribute = (path.into(), attribute.into());
        self.settings.server_attributes.push(attribute);
        self
    }

    /// Adds an attribute to the traits of services.
    pub fn trait_attribute(
        mut self,
        path: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        let attribute = (path.into(), attribute.into());
        self.settings.trait_attributes.push(attribute);
        self
    }

    /// Sets whether the methods of traits have a default implementation, which responds with
    /// `UNIMPLEMENTED`. The default is false: a method that is added to the `.proto` does not
    /// compile until it is implemented.
    pub fn generate_default_stubs(mut self, enable: bool) -> Self {
        self.settings.default_stubs = enable;
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

    /// Boxes a field, for messages that would be too large otherwise. Fields by which a message contains
    /// itself are boxed in any case.
    pub fn boxed(mut self, path: impl AsRef<str>) -> Self {
        self.config.boxed(path);
        self
    }

    /// Omits `Debug` from messages, enums and oneofs, for your own implementation.
    pub fn skip_debug<S: AsRef<str>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.config.skip_debug(paths);
        self
    }

    /// Omits the comments of messages, fields, services and methods.
    ///
    /// ```
    /// let builder = nmfw_build::configure().disable_comments([".acme.Internal", ".acme.Calc.Add"]);
    /// # let _ = builder;
    /// ```
    pub fn disable_comments<S: AsRef<str>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        let paths = paths.into_iter().map(|path| path.as_ref().to_owned());
        self.settings.without_comments.extend(paths);
        self
    }

    /// Sets whether the values of an enum lose its name: whether `LEVEL_HIGH` of `enum Level` is `High`
    /// or `LevelHigh`. The default is true.
    pub fn strip_enum_prefix(mut self, enable: bool) -> Self {
        self.settings.strip_enum_prefix = enable;
        self
    }

    /// Sets whether messages implement [`prost::Name`], which they need to be a detail of a status. The
    /// default is true.
    pub fn type_names(mut self, enable: bool) -> Self {
        self.type_names = enable;
        self
    }

    /// Changes the underlying prost-build configuration, for settings without a method here.
    ///
    /// The settings for the output folder, the include file, file names, formatting and `protoc`,
    /// and the service generator, have no effect.
    ///
    /// To keep the prefixes of enum values, use [`strip_enum_prefix`](Self::strip_enum_prefix) instead
    /// of `retain_enum_prefix`: the check for values of one name depends on it.
    ///
    /// ```
    /// let builder = nmfw_build::configure().prost_config(|config| {
    ///     config.type_name_domain([".acme"], "types.acme.com");
    /// });
    /// # let _ = builder;
    /// ```
    pub fn prost_config(mut self, change: impl FnOnce(&mut prost_build::Config)) -> Self {
        change(&mut self.config);
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

    /// Sets the path of the crate that generated code uses: `nmfw` under another name, or
    /// `nmfw-core` for a crate of messages, traits and clients that does not depend on NATS.
    ///
    /// The default is `::nmfw`. The path begins with `::` or `crate::`, because generated code is
    /// in nested modules. The crate's `include_protos!` includes the code.
    ///
    /// ```
    /// let builder = nmfw_build::configure().runtime_path("::nmfw_core");
    /// # let _ = builder;
    /// ```
    pub fn runtime_path(mut self, path: impl Into<String>) -> Self {
        self.settings.runtime_path = path.into();
        self
    }

    /// Uses this `protoc` for files that nmfw-build cannot parse.
    ///
    /// Few files need `protoc`, and the error for such a file suggests it. By default the program
    /// is named by the environment variable `PROTOC`, or found in `PATH`. It is not started for
    /// files that compile without it.
    ///
    /// ```
    /// let builder = nmfw_build::configure().protoc("/opt/protoc/bin/protoc");
    /// # let _ = builder;
    /// ```
    pub fn protoc(mut self, program: impl Into<PathBuf>) -> Self {
        self.protoc = Some(program.into());
        self
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
