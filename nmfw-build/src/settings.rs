//! The settings of a build for the code of services and messages.

use crate::docs;

/// The builder's settings for all services.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) client: bool,
    pub(crate) server: bool,
    pub(crate) subject_prefix: String,
    pub(crate) service_version: String,
    /// The path of the runtime, such as `::nmfw`.
    pub(crate) runtime_path: String,
    /// Protobuf paths whose code is in another crate or module, with its Rust paths.
    pub(crate) extern_paths: Vec<(String, String)>,
    /// Protobuf paths of services, with the Rust names that the build script chose for them.
    pub(crate) service_names: Vec<(String, String)>,
    /// Whether the values of an enum lose its name as a prefix.
    pub(crate) strip_enum_prefix: bool,
    /// Protobuf paths, as prost-build matches them, of items whose comments are omitted.
    pub(crate) without_comments: Vec<String>,
    /// Attributes, with the Protobuf paths of the services that get them.
    pub(crate) client_attributes: Vec<(String, String)>,
    pub(crate) server_attributes: Vec<(String, String)>,
    pub(crate) trait_attributes: Vec<(String, String)>,
    /// Whether the methods of traits have a default implementation.
    pub(crate) default_stubs: bool,
    /// Whether each package has a constant with the descriptors.
    pub(crate) descriptor_set: bool,
    /// Whether services carry their descriptors.
    pub(crate) schema: bool,
}

/// Returns whether a Protobuf path selects an item, as prost-build decides it.
pub(crate) fn matches(path: &str, full_name: &str) -> bool {
    let rest = match path.strip_prefix('.') {
        Some(path) => full_name.strip_prefix(path),
        // Such a path matches the last parts of a name.
        None => full_name.strip_suffix(path),
    };
    path == "."
        || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.ends_with('.'))
}

impl Settings {
    /// Returns the docs of a service or a method.
    pub(crate) fn docs(&self, full_name: &str, comment: &str) -> Vec<String> {
        let mut omitted = self.without_comments.iter();
        if omitted.any(|path| matches(path, full_name)) {
            return Vec::new();
        }
        docs::link(docs::markdown(comment))
    }

    /// Returns whether prost-build generates nothing for this item because another crate has it.
    pub(crate) fn is_extern(&self, full_name: &str) -> bool {
        self.extern_paths.iter().any(|(path, _)| {
            let path = path.trim_start_matches('.');
            path.is_empty()
                || full_name
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}
