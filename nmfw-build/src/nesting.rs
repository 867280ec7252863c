//! Merges a package into the code of another one if both need a module of the same name.
//!
//! Types nested in a message `Cluster` and the package `mesh.cluster` beside that message both
//! belong into the module `cluster`. Paths between the two only work if it is one module, so the
//! module with the nested types includes the package's file.

use syn::{Item, ItemMod, parse_quote};

use crate::error::Error;
use crate::package::OutDir;

/// The code of a package before it becomes text.
pub(crate) struct Draft {
    /// The path of its module, from the outermost one.
    pub(crate) modules: Vec<String>,
    /// The name in the `.proto`.
    pub(crate) name: String,
    /// The name of its file, without `.rs`.
    pub(crate) file_stem: String,
    pub(crate) items: Vec<Item>,
    /// Whether the code of another package includes it.
    pub(crate) nested: bool,
}

/// Merges each package whose module already exists in another package into that package.
///
/// # Errors
/// Fails if the name of a module is not a Rust name.
pub(crate) fn merge(packages: &mut [Draft], dir: &OutDir) -> Result<(), Error> {
    // Outer packages come first, because a package may be merged into one that was itself merged.
    // The innermost host comes first, because that is where rustc would find the module defined
    // twice.
    packages.sort_by(|a, b| (a.modules.len(), &a.modules).cmp(&(b.modules.len(), &b.modules)));
    for at in 0..packages.len() {
        let (outer, rest) = packages.split_at_mut(at);
        let Some(package) = rest.first_mut() else {
            break;
        };
        let host = outer.iter_mut().rev().find(|host| {
            package
                .modules
                .strip_prefix(host.modules.as_slice())
                .is_some_and(|below| {
                    below
                        .first()
                        .is_some_and(|first| module(&host.items, first).is_some())
                })
        });
        if let Some(host) = host {
            put(package, host, dir)?;
            package.nested = true;
        }
    }
    packages.sort_by(|a, b| a.modules.cmp(&b.modules));
    Ok(())
}

fn put(package: &Draft, host: &mut Draft, dir: &OutDir) -> Result<(), Error> {
    let inside = package.modules.len();
    let mut items = &mut host.items;
    let mut parent = host.modules.last().cloned();
    for (name, depth) in package.modules.iter().zip(1..).skip(host.modules.len()) {
        let parts: Vec<&str> = package.name.split('.').take(depth).collect();
        let known = module(items, name);
        let new = known.is_none();
        if new {
            let inception = parent.as_deref() == Some(name);
            let module = new_module(name, &parts.join("."), inception)?;
            items.push(Item::Mod(module));
        }
        let at = known.unwrap_or(items.len() - 1);
        let Some(Item::Mod(ItemMod {
            attrs,
            content: Some((_, inner)),
            ..
        })) = items.get_mut(at)
        else {
            return Err(Error::generate(format!("the module `{name}` has no code")));
        };
        if !new && depth == inside {
            let docs = format!(" The package `{}` is in it too.", package.name);
            attrs.push(parse_quote!(#[doc = ""]));
            attrs.push(parse_quote!(#[doc = #docs]));
        }
        items = inner;
        parent = Some(name.clone());
    }
    let include = dir.include(&package.file_stem);
    let include: Item = syn::parse_str(&include)
        .map_err(|error| Error::generate(format!("`{include}` does not parse: {error}")))?;
    items.push(include);
    Ok(())
}

/// Returns the position of a module among items.
fn module(items: &[Item], name: &str) -> Option<usize> {
    items
        .iter()
        .position(|item| matches!(item, Item::Mod(module) if module.ident == name))
}

fn new_module(name: &str, package: &str, inception: bool) -> Result<ItemMod, Error> {
    let ident: syn::Ident = syn::parse_str(name)
        .map_err(|_| Error::generate(format!("`{name}` is not a valid Rust name")))?;
    let docs = format!(" The package `{package}`.");
    let mut module: ItemMod = parse_quote! {
        #[doc = #docs]
        pub mod #ident {}
    };
    if inception {
        module
            .attrs
            .push(parse_quote!(#[allow(clippy::module_inception)]));
    }
    Ok(module)
}
