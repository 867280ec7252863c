//! Files with the NATS permissions of services and their clients.

use std::fs;
use std::path::PathBuf;

use nmfw_permissions::{Export, Permissions, Role, Rules, ServiceFacts};

use crate::error::Error;
use crate::model::Service;
use crate::options::QueueGroup;
use crate::output;

/// The default of ADR-32 and of the runtime.
const DEFAULT_QUEUE_GROUP: &str = "q";

/// The files with NATS permissions to write, for
/// [`Builder::permissions`](crate::Builder::permissions).
///
/// ```
/// use nmfw_build::PermissionFiles;
///
/// let builder = nmfw_build::configure().permissions(
///     PermissionFiles::new("deploy/permissions")
///         .client("reporting", ["calc.Calc.Add", "calc.Calc.Average"])
///         .exported_by("SERVICES"),
/// );
/// # let _ = builder;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PermissionFiles {
    dir: PathBuf,
    clients: Vec<(String, Vec<String>)>,
    exporter: Option<String>,
    importers: Vec<String>,
}

impl PermissionFiles {
    /// Writes the files to this folder, which is created if it is missing. A relative path starts
    /// at the folder of the crate.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            clients: Vec::new(),
            exporter: None,
            importers: Vec::new(),
        }
    }

    /// Also writes the permissions of clients that call only some methods, in files of that name.
    /// The methods have their full names, such as `calc.Calc.Add`, and may belong to several
    /// services.
    pub fn client<M: Into<String>>(
        mut self,
        name: impl Into<String>,
        methods: impl IntoIterator<Item = M>,
    ) -> Self {
        let methods = methods.into_iter().map(Into::into).collect();
        self.clients.push((name.into(), methods));
        self
    }

    /// Also writes the exports of the services from an account of that name, the matching imports
    /// for other accounts, and the permissions of clients there. The services get the permission to
    /// answer these clients.
    pub fn exported_by(mut self, account: impl Into<String>) -> Self {
        self.exporter = Some(account.into());
        self
    }

    /// Exports to this account only. Repeated calls add accounts. It has no effect without
    /// [`exported_by`](Self::exported_by).
    pub fn only_for(mut self, account: impl Into<String>) -> Self {
        self.importers.push(account.into());
        self
    }

    /// Writes the files.
    ///
    /// # Errors
    /// Fails if a method does not exist, if a name is not valid for a file, or if a file cannot be
    /// written.
    pub(crate) fn write(&self, services: &[Service]) -> Result<(), Error> {
        let services: Vec<_> = services.iter().map(facts).collect::<Result<_, _>>()?;
        let mut files = Files::default();
        for service in &services {
            self.service(service, &mut files)?;
        }
        for (name, methods) in &self.clients {
            files.user(name, &self.some_methods(name, methods, &services, false)?);
            if self.exporter.is_some() {
                let rules = self.some_methods(name, methods, &services, true)?;
                files.user(&format!("{name}.importer"), &rules);
            }
        }
        files.check_names()?;
        fs::create_dir_all(&self.dir).map_err(|error| Error::io("create", &self.dir, error))?;
        for (name, text) in files.0 {
            output::write_if_changed(&self.dir.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    fn service(&self, service: &ServiceFacts, files: &mut Files) -> Result<(), Error> {
        let name = service.name();
        for role in [Role::Service, Role::Client, Role::Observer] {
            let mut permissions = Permissions::new(role, service).map_err(wrong)?;
            if role == Role::Service && self.exporter.is_some() {
                permissions = permissions.across_accounts();
            }
            files.user(&format!("{name}.{role}"), &permissions.rules());
        }
        if let Some(exporter) = &self.exporter {
            let importer = Permissions::client(service).map_err(wrong)?;
            let importer = importer.across_accounts().rules();
            files.user(&format!("{name}.importer"), &importer);
            let mut export = Export::of(service).map_err(wrong)?;
            if !self.importers.is_empty() {
                export = export.only_for(&self.importers).map_err(wrong)?;
            }
            let import = export.import_from(exporter);
            files.pair(
                &format!("{name}.exports"),
                export.nats_config(),
                export.nsc_script(),
            );
            files.pair(
                &format!("{name}.imports"),
                import.nats_config(),
                import.nsc_script(),
            );
        }
        Ok(())
    }

    /// Returns the rules of a client that calls these methods, of any services.
    fn some_methods(
        &self,
        client: &str,
        methods: &[String],
        services: &[ServiceFacts],
        across_accounts: bool,
    ) -> Result<Rules, Error> {
        let mut by_service: Vec<(&ServiceFacts, Vec<&str>)> = Vec::new();
        for method in methods {
            let (service, name) = method.rsplit_once('.').unwrap_or(("", method));
            let service = services.iter().find(|known| known.full_name() == service);
            let service = service.ok_or_else(|| {
                let known: Vec<_> = services.iter().map(ServiceFacts::full_name).collect();
                Error::config(format!(
                    "the permissions of the client {client:?} name the method {method:?}, but \
                     there is no such service: use a full name such as \"calc.Calc.Add\"; the \
                     services are {}",
                    known.join(", ")
                ))
            })?;
            match by_service.iter_mut().find(|(known, _)| *known == service) {
                Some((_, names)) => names.push(name),
                None => by_service.push((service, vec![name])),
            }
        }
        let rules = |(service, names): (&ServiceFacts, Vec<&str>)| {
            let permissions = Permissions::client(service)?.methods(names)?;
            Ok(if across_accounts {
                permissions.across_accounts().rules()
            } else {
                permissions.rules()
            })
        };
        let rules: Result<Vec<_>, _> = by_service.into_iter().map(rules).collect();
        let rules = rules.map_err(wrong)?.into_iter().reduce(Rules::and);
        rules.ok_or_else(|| {
            Error::config(format!(
                "the permissions of the client {client:?} name no method: add at least one"
            ))
        })
    }
}

impl From<&str> for PermissionFiles {
    fn from(dir: &str) -> Self {
        Self::new(dir)
    }
}

impl From<PathBuf> for PermissionFiles {
    fn from(dir: PathBuf) -> Self {
        Self::new(dir)
    }
}

/// Files by name, with their content.
#[derive(Default)]
struct Files(Vec<(String, String)>);

impl Files {
    fn user(&mut self, name: &str, rules: &Rules) {
        self.pair(name, rules.nats_config(), rules.nsc_script());
    }

    fn pair(&mut self, name: &str, config: String, script: String) {
        self.0.push((format!("{name}.conf"), config));
        self.0.push((format!("{name}.nsc.sh"), script));
    }

    /// Checks the names of the files.
    ///
    /// # Errors
    /// Fails if one would be in another folder, or if two are equal.
    fn check_names(&self) -> Result<(), Error> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            let allowed = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if !name.chars().all(allowed) || name.starts_with('.') {
                return Err(Error::config(format!(
                    "`{name}` is not a valid name of a permission file: use letters, digits, `-`, \
                     `_` and `.`"
                )));
            }
            if self
                .0
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == name)
            {
                return Err(Error::config(format!(
                    "two permission files would be named `{name}`: rename a client"
                )));
            }
        }
        Ok(())
    }
}

fn facts(service: &Service) -> Result<ServiceFacts, Error> {
    let own = group(service.options.queue_group.as_ref());
    let own = own.unwrap_or(Some(DEFAULT_QUEUE_GROUP));
    let (name, subject) = (&service.discovery_name, &service.subject);
    let mut facts = ServiceFacts::new(&service.full_name, name, subject, own).map_err(wrong)?;
    for method in &service.methods {
        let group = group(method.options.queue_group.as_ref()).unwrap_or(own);
        facts = facts
            .with_method(&method.proto_name, group)
            .map_err(wrong)?;
    }
    Ok(facts)
}

/// Returns the value of an option, if it is set.
fn group(option: Option<&QueueGroup>) -> Option<Option<&str>> {
    Some(match option? {
        QueueGroup::Named(name) => Some(name),
        QueueGroup::None => None,
    })
}

fn wrong(error: nmfw_permissions::Error) -> Error {
    Error::config(error.to_string())
}
