//! Generation, from `.proto` files and from descriptor sets.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;
use syn::parse_quote;

use crate::config::Builder;
use crate::descriptor_set;
use crate::emit::Target;
use crate::error::Error;
use crate::extern_path;
use crate::generator;
use crate::names;
use crate::options;
use crate::output;
use crate::package::OutDir;
use crate::protos::Protos;
use crate::schema::Schemas;
use crate::service_attributes::ServiceAttributes;
use crate::services;
use crate::settings::Settings;
use crate::source;

impl Builder {
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
        reason = "the signature is that of prost-build and tonic-build, and the set is usually \
                  made for this call"
    )]
    pub fn compile_fds(self, set: FileDescriptorSet) -> Result<(), Error> {
        for file in &set.file {
            if file.syntax() == "editions" {
                return Err(Error::config(format!(
                    "`{}` uses an edition, which a decoded FileDescriptorSet does not contain: \
                     pass the encoded set to `compile_fds_bytes` or `compile_fds_file` instead",
                    file.name(),
                )));
            }
            if file.dependency.iter().any(|import| import == options::FILE) {
                return Err(Error::config(format!(
                    "`{}` uses `{}`, whose options a decoded FileDescriptorSet does not contain: \
                     pass the encoded set to `compile_fds_bytes` or `compile_fds_file` instead",
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
        let services = services::read(protos, &self.settings)?;
        let schemas = Schemas::make(protos, &services, &self.settings)?;
        let packages = generator::generate(
            protos,
            &mut self.config,
            &services,
            &schemas,
            &self.settings,
            &target,
            &dir,
        )?;
        output::write(&dir, &packages, self.include_file.as_deref())?;
        schemas.write(dir.path())?;
        if self.settings.descriptor_set {
            output::write_sets(&dir, &packages, &protos.encoded_set())?;
        }
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
                    "the runtime path `{path}` is not absolute: it must begin with `::` or \
                     `crate::`"
                ))
            })?;
        self.config
            .prost_path(format!("{seam}::prost"))
            .prost_types_path(format!("{seam}::prost_types"))
            .disable_comments(&self.settings.without_comments);
        if self.type_names {
            self.config.enable_type_names();
        }
        if !self.settings.strip_enum_prefix {
            self.config.retain_enum_prefix();
        }
        Ok(Target {
            runtime,
            // Names, shapes and comments come from the `.proto`, and a program need not use all
            // items. The attribute is on each item because an included file cannot begin with an
            // inner attribute.
            allow: parse_quote!(#[allow(dead_code, deprecated, missing_docs, unreachable_pub, clippy::all)]),
            client: self.settings.client,
            server: self.settings.server,
            default_stubs: self.settings.default_stubs,
            client_attributes: ServiceAttributes::parse(&self.settings.client_attributes)?,
            server_attributes: ServiceAttributes::parse(&self.settings.server_attributes)?,
            trait_attributes: ServiceAttributes::parse(&self.settings.trait_attributes)?,
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
                "the service version {service_version:?} is not a semantic version: {reason}"
            )));
        }
        Ok(())
    }
}
