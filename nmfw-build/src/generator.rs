//! Generates the messages with prost-build and appends the services.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use prost_build::{Config, Module, ServiceGenerator};
use syn::{Item, ItemEnum, ItemImpl, ItemMod, ItemStruct, parse_quote};

use crate::accessors;
use crate::comments;
use crate::debug;
use crate::emit::{self, Target};
use crate::error::Error;
use crate::groups;
use crate::model::Service;
use crate::names;
use crate::nesting::{self, Draft};
use crate::options;
use crate::output;
use crate::package::{OutDir, Package};
use crate::protos::Protos;
use crate::references::References;
use crate::schema::Schemas;
use crate::settings::Settings;

/// Records prost-build's Rust types of requests and responses. The code of the services follows
/// later, because the fixes of messages do not apply to it.
#[derive(Debug, Default, Clone)]
struct Recorder(Rc<RefCell<Vec<prost_build::Service>>>);

impl ServiceGenerator for Recorder {
    fn generate(&mut self, service: prost_build::Service, _: &mut String) {
        self.0.borrow_mut().push(service);
    }
}

/// Generates the code of all packages in the pool, in the order of their names.
pub(crate) fn generate(
    protos: &Protos,
    config: &mut Config,
    services: &[Service],
    schemas: &Schemas,
    settings: &Settings,
    target: &Target,
    dir: &OutDir,
) -> Result<Vec<Package>, Error> {
    let pool = &protos.pool;
    let mut requests = Vec::new();
    let mut packages = BTreeMap::new();
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in pool.files().filter(|file| file.name() != options::FILE) {
        let mut descriptor = protos.descriptor(&file);
        comments::complete(&mut descriptor);
        let module = Module::from_protobuf_package_name(file.package_name());
        packages
            .entry(module.clone())
            .or_insert_with(|| file.package_name().to_owned());
        requests.push((module, descriptor));
        files
            .entry(names::file_stem(file.package_name()))
            .or_default()
            .insert(file.name().to_owned());
    }

    groups::box_cycles(pool, config);
    let recorder = Recorder::default();
    config.service_generator(Box::new(recorder.clone()));
    // Formatting happens below, because prost-build panics on attributes that do not parse.
    config.format(false);
    let mut generated = config
        .generate(requests)
        .map_err(|error| Error::generate(error.to_string()))?;

    // Grouped by file, because packages that differ only in case share one.
    let mut recorded: BTreeMap<String, Vec<prost_build::Service>> = BTreeMap::new();
    for service in recorder.0.take() {
        let file = names::file_stem(&service.package);
        recorded.entry(file).or_default().push(service);
    }
    let services = if settings.client || settings.server {
        services
    } else {
        &[]
    };
    let mut drafts = packages
        .into_iter()
        .filter_map(|(module, name)| {
            let messages = generated.remove(&module);
            // prost-build leaves out a package that has services only.
            let has_services = || recorded.contains_key(&names::file_stem(&name));
            let messages = messages.or_else(|| has_services().then(String::new))?;
            Some((messages, module, name))
        })
        .map(|(messages, module, name)| {
            let modules: Vec<String> = module.parts().map(str::to_owned).collect();
            Ok(Draft {
                items: items(&messages, &name, target)?,
                file_stem: names::file_stem(&name),
                modules,
                name,
                nested: false,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    nesting::merge(&mut drafts, dir)?;

    let references = References::find(pool, settings);
    let nested: Vec<Vec<String>> = drafts
        .iter()
        .filter(|draft| draft.nested)
        .map(|draft| draft.modules.clone())
        .collect();
    drafts
        .into_iter()
        .map(|draft| {
            let inside: Vec<Vec<String>> = nested
                .iter()
                .filter(|modules| modules.starts_with(&draft.modules))
                .cloned()
                .collect();
            let mut items = draft.items;
            if settings.descriptor_set {
                items.push(descriptor_set(&draft.file_stem, target));
            }
            let mut code = references.code(&draft.modules, &inside, &settings.runtime_path);
            code.push_str(&prettyplease::unparse(&syn::File {
                shebang: None,
                frontmatter: None,
                attrs: Vec::new(),
                items,
            }));
            for prost in recorded.get(&draft.file_stem).into_iter().flatten() {
                let model = services.iter().find(|service| {
                    service.package == prost.package && service.proto_name == prost.proto_name
                });
                if let Some(model) = model {
                    code.push_str(&emit::service(
                        &emit::ServiceItem::new(model, prost, schemas.of(model))?,
                        target,
                    )?);
                }
            }
            Ok(Package {
                modules: draft.modules,
                files: files.remove(&draft.file_stem).unwrap_or_default(),
                file_stem: draft.file_stem,
                name: draft.name,
                code: format!("// This file is @generated by nmfw-build.\n\n{code}"),
                nested: draft.nested,
            })
        })
        .collect()
}

/// Returns the constant with the descriptors of a package.
fn descriptor_set(file_stem: &str, target: &Target) -> Item {
    let allow = &target.allow;
    let file = output::set_file(file_stem);
    parse_quote! {
        /// The encoded descriptors of the files that this code was generated from.
        #allow
        pub const FILE_DESCRIPTOR_SET: &[u8] = ::core::include_bytes!(#file);
    }
}

/// Returns the items that prost-build generated for a package, with fixes applied.
fn items(code: &str, package: &str, target: &Target) -> Result<Vec<Item>, Error> {
    let mut items = syn::parse_file(code)
        .map_err(|error| {
            Error::generate(format!(
                "the code of the package `{package}` does not parse: {error}; check the configured \
             attributes and paths"
            ))
        })?
        .items;
    accessors::separate(&mut items);
    debug::complete(&mut items);
    for item in &mut items {
        if let Item::Impl(ItemImpl {
            trait_: Some(_), ..
        }) = item
        {
            continue;
        }
        // The attribute of a module covers its content.
        if let Item::Struct(ItemStruct { attrs, .. })
        | Item::Enum(ItemEnum { attrs, .. })
        | Item::Impl(ItemImpl { attrs, .. })
        | Item::Mod(ItemMod { attrs, .. }) = item
        {
            attrs.push(target.allow.clone());
        }
    }
    Ok(items)
}
