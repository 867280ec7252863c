//! Finds extern paths that prost-build would change.

use prost_reflect::{DescriptorPool, EnumDescriptor, MessageDescriptor};

use crate::error::Error;
use crate::names;
use crate::settings::Settings;

/// Checks the path that prost-build derives from the Rust path of a package, or of a message with
/// nested types.
///
/// prost-build applies its rules for module names to each part of the path, not only to the parts
/// that it adds, so `main_` becomes `main` and `super` becomes `super_`. The path of a type itself
/// is not changed.
///
/// # Errors
/// Fails if a path that is used would be changed.
pub(crate) fn check(pool: &DescriptorPool, settings: &Settings) -> Result<(), Error> {
    for (proto, rust) in &settings.extern_paths {
        let parts: Vec<&str> = rust.split("::").collect();
        let checked = match used_below(pool, proto.trim_start_matches('.')) {
            Below::Nothing => continue,
            Below::Message => &parts[..parts.len() - 1],
            Below::Package => &parts[..],
        };
        let changed = checked.iter().enumerate().find_map(|(at, part)| {
            let kept = at == 0 && ["", "crate"].contains(part);
            let module = names::module(part);
            // A keyword is written without `r#`, which prost-build adds.
            let written = module.strip_prefix("r#").unwrap_or(&module);
            (!kept && written != *part).then_some((part, module))
        });
        if let Some((part, module)) = changed {
            return Err(Error::config(format!(
                "the extern path `{rust}` of `{proto}` cannot be used: prost-build would write \
                 `{module}` for `{part}`. Use a path that begins with `::` or `crate::` and has \
                 modules in snake case, for example of a `pub use`"
            )));
        }
    }
    Ok(())
}

/// Items below a Protobuf path whose Rust paths would be derived from it.
enum Below {
    Nothing,
    /// Types in a message. The last part of its path is its own name, which becomes the name of its
    /// module.
    Message,
    Package,
}

fn used_below(pool: &DescriptorPool, proto: &str) -> Below {
    if let Some(message) = pool.get_message_by_name(proto) {
        let messages = message
            .child_messages()
            .filter(|child| !child.is_map_entry());
        return if messages.count() + message.child_enums().count() > 0 {
            Below::Message
        } else {
            Below::Nothing
        };
    }
    let is_below = |name: &str| {
        proto.is_empty()
            || name
                .strip_prefix(proto)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let messages = pool.all_messages();
    let mut names = messages
        .map(|item: MessageDescriptor| item.full_name().to_owned())
        .chain(
            pool.all_enums()
                .map(|item: EnumDescriptor| item.full_name().to_owned()),
        );
    if names.any(|name| is_below(&name)) {
        Below::Package
    } else {
        Below::Nothing
    }
}
