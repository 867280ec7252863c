//! The packages that a package refers to.
//!
//! Paths to them go through the modules around the package. Without these modules, rustc reports
//! each path, in a generated file. The code therefore begins with one path to each package, on a
//! line that suggests the fix.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor};

use crate::collisions;
use crate::names;
use crate::settings::Settings;

/// Types of other packages, by the modules of the two packages.
#[derive(Debug, Default)]
pub(crate) struct References(BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>>);

impl References {
    /// Collects the references of messages and services to other packages.
    pub(crate) fn find(pool: &DescriptorPool, settings: &Settings) -> Self {
        let mut found = Self::default();
        for message in pool.all_messages() {
            let file = message.parent_file();
            if !collisions::is_generated(&file, message.full_name(), settings) {
                continue;
            }
            for field in message.fields() {
                match field.kind() {
                    Kind::Message(used) => found.add_message(&file, &used, settings),
                    Kind::Enum(used) => {
                        found.add(&file, &used.parent_file(), used.full_name(), settings);
                    }
                    _ => {}
                }
            }
        }
        if settings.client || settings.server {
            for service in pool.services() {
                let file = service.parent_file();
                for method in service.methods() {
                    found.add_message(&file, &method.input(), settings);
                    found.add_message(&file, &method.output(), settings);
                }
            }
        }
        found
    }

    fn add_message(
        &mut self,
        user: &FileDescriptor,
        used: &MessageDescriptor,
        settings: &Settings,
    ) {
        self.add(user, &used.parent_file(), used.full_name(), settings);
    }

    fn add(
        &mut self,
        user: &FileDescriptor,
        used: &FileDescriptor,
        full_name: &str,
        settings: &Settings,
    ) {
        if user.package_name() == used.package_name()
            || !collisions::is_generated(used, full_name, settings)
        {
            return;
        }
        let (from, to) = (modules(user), modules(used));
        // Packages that differ only in case are one module.
        if from == to {
            return;
        }
        let in_package = full_name
            .strip_prefix(used.package_name())
            .unwrap_or(full_name)
            .trim_start_matches('.');
        let outermost = in_package.split('.').next().unwrap_or(in_package);
        // The alphabetically first one, so that it is the same in each run.
        let rust = names::type_name(outermost);
        let kept = self
            .0
            .entry(from)
            .or_default()
            .entry(to)
            .or_insert(rust.clone());
        if rust < *kept {
            *kept = rust;
        }
    }

    /// Returns the code that refers to each of these packages, if there are any.
    ///
    /// The code of the package itself includes those in `inside`.
    pub(crate) fn code(&self, package: &[String], inside: &[Vec<String>], runtime: &str) -> String {
        let runtime = runtime.trim_start_matches("::");
        let used: Vec<String> = self
            .0
            .get(package)
            .into_iter()
            .flatten()
            .filter(|(modules, _)| !inside.contains(modules))
            .map(|(modules, name)| path(package, modules, name))
            .collect();
        if used.is_empty() {
            return String::new();
        }
        let mut code = format!(
            "// The packages that this one uses. Their modules must be nested like the packages, \
             as `{runtime}::include_protos!()` does.\n#[allow(unused_imports)]\nconst _: () = {{\n"
        );
        for path in used {
            // Writing to a string does not fail. rustc shows the line, cut off at about 130
            // columns.
            let _ = writeln!(
                code,
                "    use {path} as _; // Not found? Use `{runtime}::include_protos!()`."
            );
        }
        code.push_str("};\n");
        code
    }
}

fn modules(file: &FileDescriptor) -> Vec<String> {
    let parts = file.package_name().split('.');
    parts
        .filter(|part| !part.is_empty())
        .map(names::module)
        .collect()
}

/// Returns the path from one package's module to a type in another's.
fn path(from: &[String], to: &[String], name: &str) -> String {
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "super");
    let down = to[shared..].iter().map(String::as_str);
    // A path within the module needs a prefix, so that it is not taken for a crate.
    let start = (shared == from.len()).then_some("self");
    let parts: Vec<&str> = start
        .into_iter()
        .chain(up)
        .chain(down)
        .chain([name])
        .collect();
    parts.join("::")
}
