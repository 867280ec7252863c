//! [`PermissionsQuery`]: the permissions that a command line asks for, as one text.

use std::{fmt, str::FromStr};

use crate::{Error, Export, Import, Permissions, Role, Rules, ServiceFacts, accounts::list};

/// The language of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PermissionsFormat {
    /// nats-server's configuration, `nats-conf`.
    #[default]
    NatsConf,
    /// Commands of `nsc`.
    Nsc,
}

impl fmt::Display for PermissionsFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NatsConf => "nats-conf",
            Self::Nsc => "nsc",
        })
    }
}

impl FromStr for PermissionsFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "nats-conf" => Ok(Self::NatsConf),
            "nsc" => Ok(Self::Nsc),
            other => Err(Error::new(format!(
                "unknown format {other:?}: the formats are nats-conf and nsc"
            ))),
        }
    }
}

/// The content of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PermissionsKind {
    /// The permissions of a user.
    Role(Role),
    /// The exports of the service's account.
    Export,
    /// The imports of the callers' account.
    Import,
}

impl fmt::Display for PermissionsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => role.fmt(f),
            Self::Export => f.write_str("export"),
            Self::Import => f.write_str("import"),
        }
    }
}

/// Parses `service`, `client`, `observer`, `export` or `import`.
impl FromStr for PermissionsKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "export" => Ok(Self::Export),
            "import" => Ok(Self::Import),
            role => role.parse().map(Self::Role).map_err(|_| {
                Error::new(format!(
                    "unknown role {role:?}: the roles are service, client, observer, export and \
                     import"
                ))
            }),
        }
    }
}

/// A query for permissions, as from a command line:
/// `calc permissions --role client --method Add --format nsc`.
///
/// ```
/// use nmfw_permissions::{PermissionsFormat, PermissionsQuery, Role, ServiceFacts, PermissionsKind};
///
/// # fn main() -> Result<(), nmfw_permissions::Error> {
/// let calc = ServiceFacts::new("calc.Calc", "calc", "nmfw.calc", Some("q"))?
///     .with_method("Add", Some("q"))?;
/// let mut query = PermissionsQuery::new("client".parse()?);
/// query.methods = vec!["Add".to_owned()];
/// query.format = "nsc".parse()?;
/// query.account = Some("CALLERS".to_owned());
/// query.user = Some("web".to_owned());
/// assert!(query.text(&[calc])?.contains("--allow-pub 'nmfw.calc.Add'"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PermissionsQuery {
    /// The content of the text.
    pub kind: PermissionsKind,
    /// The language of the text.
    pub format: PermissionsFormat,
    /// The methods, as `Add` or `calc.Calc.Add`; all if empty.
    pub methods: Vec<String>,
    /// The account of the user, the exports or the imports; required for `nsc`.
    pub account: Option<String>,
    /// The user; required for `nsc`.
    pub user: Option<String>,
    /// The accounts that may import the service, see [`Export::only_for`]; any account if empty.
    pub only_for: Vec<String>,
    /// The exporting account; required for imports.
    pub from_account: Option<String>,
    /// The subject of the service in the importing account.
    pub to: Option<String>,
    /// See [`Permissions::wait_ready`].
    pub wait_ready: bool,
    /// See [`Permissions::across_accounts`].
    pub across_accounts: bool,
    /// See [`Permissions::inbox_prefix`].
    pub inbox_prefix: Option<String>,
    /// See [`Permissions::callers_inbox_prefix`].
    pub callers_inbox_prefixes: Vec<String>,
}

impl PermissionsQuery {
    /// Creates a query for all methods, as nats-server's configuration, with the defaults of
    /// [`Permissions`].
    #[must_use]
    pub fn new(kind: PermissionsKind) -> Self {
        Self {
            kind,
            format: PermissionsFormat::default(),
            methods: Vec::new(),
            account: None,
            user: None,
            only_for: Vec::new(),
            from_account: None,
            to: None,
            wait_ready: false,
            across_accounts: false,
            inbox_prefix: None,
            callers_inbox_prefixes: Vec::new(),
        }
    }

    /// Returns the text for these services. The permissions of a user are those for all of them
    /// together.
    ///
    /// # Errors
    /// Fails if there is no service or no method of a given name, if a value is not valid, or if
    /// the format requires a value that is missing.
    pub fn text(&self, services: &[ServiceFacts]) -> Result<String, Error> {
        let services = self.select(services)?;
        match self.kind {
            PermissionsKind::Role(role) => self.role(role, &services),
            PermissionsKind::Export => self.exports(&services),
            PermissionsKind::Import => self.imports(&services),
        }
    }

    fn role(&self, role: Role, services: &[Selected<'_>]) -> Result<String, Error> {
        let each = services.iter().map(|selected| self.rules(role, selected));
        let each: Vec<Rules> = each.collect::<Result<_, _>>()?;
        let Some(rules) = each.into_iter().reduce(Rules::and) else {
            return Err(no_service());
        };
        match self.format {
            PermissionsFormat::NatsConf => Ok(rules.nats_config()),
            PermissionsFormat::Nsc => {
                let account = needed(self.account.as_deref(), "the account of the user")?;
                let user = needed(self.user.as_deref(), "the name of the user")?;
                Ok(rules.nsc(account, user))
            }
        }
    }

    fn rules(&self, role: Role, selected: &Selected<'_>) -> Result<Rules, Error> {
        let mut permissions = Permissions::new(role, selected.service)?;
        if let Some(methods) = &selected.methods {
            permissions = permissions.methods(methods)?;
        }
        if let Some(prefix) = &self.inbox_prefix {
            permissions = permissions.inbox_prefix(prefix)?;
        }
        for prefix in &self.callers_inbox_prefixes {
            permissions = permissions.callers_inbox_prefix(prefix)?;
        }
        if self.wait_ready {
            permissions = permissions.wait_ready();
        }
        if self.across_accounts {
            permissions = permissions.across_accounts();
        }
        Ok(permissions.rules())
    }

    fn exports(&self, services: &[Selected<'_>]) -> Result<String, Error> {
        let exports = services.iter().map(|selected| self.export(selected));
        let exports: Vec<_> = exports.collect::<Result<_, _>>()?;
        match self.format {
            PermissionsFormat::NatsConf => {
                let entries = exports.iter().map(Export::config_entries);
                Ok(list("exports", entries))
            }
            PermissionsFormat::Nsc => {
                let account = needed(self.account.as_deref(), "the exporting account")?;
                Ok(exports.iter().map(|export| export.nsc(account)).collect())
            }
        }
    }

    fn export(&self, selected: &Selected<'_>) -> Result<Export, Error> {
        let mut export = Export::of(selected.service)?;
        if let Some(methods) = &selected.methods {
            export = export.methods(methods)?;
        }
        if !self.only_for.is_empty() {
            export = export.only_for(&self.only_for)?;
        }
        Ok(export)
    }

    fn imports(&self, services: &[Selected<'_>]) -> Result<String, Error> {
        let from = needed(self.from_account.as_deref(), "the exporting account")?;
        if services.len() > 1 && self.to.is_some() {
            return Err(Error::new(
                "a single subject cannot be used for several services: select one of them",
            ));
        }
        let import = |selected: &Selected<'_>| {
            let import = self.export(selected)?.import_from(from);
            match &self.to {
                Some(to) => import.to(to),
                None => Ok(import),
            }
        };
        let imports: Vec<_> = services.iter().map(import).collect::<Result<_, _>>()?;
        match self.format {
            PermissionsFormat::NatsConf => {
                let entries = imports.iter().map(Import::config_entries);
                Ok(list("imports", entries))
            }
            PermissionsFormat::Nsc => {
                let account = needed(self.account.as_deref(), "the importing account")?;
                Ok(imports.iter().map(|import| import.nsc(account)).collect())
            }
        }
    }

    /// Returns the services with their selected methods; if there are several services, only those
    /// with one of the methods.
    fn select<'a>(&self, services: &'a [ServiceFacts]) -> Result<Vec<Selected<'a>>, Error> {
        if services.is_empty() {
            return Err(no_service());
        }
        if self.methods.is_empty() {
            let all = services.iter().map(|service| Selected {
                service,
                methods: None,
            });
            return Ok(all.collect());
        }
        let named = |service: &ServiceFacts, method: &str| {
            let own = method
                .strip_prefix(service.full_name())
                .and_then(|rest| rest.strip_prefix('.'))
                .unwrap_or(method);
            service.has(own).then(|| own.to_owned())
        };
        for method in &self.methods {
            if !services
                .iter()
                .any(|service| named(service, method).is_some())
            {
                let known: Vec<_> = services
                    .iter()
                    .flat_map(|s| s.methods().map(move |m| format!("{}.{m}", s.full_name())))
                    .collect();
                return Err(Error::new(format!(
                    "there is no method {method:?}; there are: {}",
                    known.join(", ")
                )));
            }
        }
        let selected = services.iter().filter_map(|service| {
            let methods = self
                .methods
                .iter()
                .filter_map(|method| named(service, method));
            let methods: Vec<_> = methods.collect();
            (!methods.is_empty()).then_some(Selected {
                service,
                methods: Some(methods),
            })
        });
        Ok(selected.collect())
    }
}

struct Selected<'a> {
    service: &'a ServiceFacts,
    methods: Option<Vec<String>>,
}

fn needed<'a>(value: Option<&'a str>, what: &str) -> Result<&'a str, Error> {
    value.ok_or_else(|| Error::new(format!("{what} is missing")))
}

fn no_service() -> Error {
    Error::new("there is no service to create permissions for")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn services() -> [ServiceFacts; 2] {
        [("calc.Calc", "calc", "Add"), ("shop.Shop", "shop", "Buy")].map(
            |(full_name, name, method)| {
                let service = ServiceFacts::new(full_name, name, name, Some("q")).unwrap();
                let service = service.with_method(method, Some("q")).unwrap();
                service.with_method("List", Some("q")).unwrap()
            },
        )
    }

    fn query(what: &str) -> PermissionsQuery {
        PermissionsQuery::new(what.parse().unwrap())
    }

    /// Services share the lists and blocks that a configuration may contain only once, and no entry
    /// is lost.
    #[test]
    fn several_services_are_one_text() {
        for (what, list) in [
            ("client", "permissions: {"),
            ("service", "permissions: {"),
            ("observer", "permissions: {"),
            ("export", "exports: ["),
            ("import", "imports: ["),
        ] {
            let mut query = query(what);
            query.from_account = Some("A".to_owned());
            let text = query.text(&services()).unwrap();
            assert_eq!(text.matches(list).count(), 1, "{text}");
            assert!(text.contains("calc") && text.contains("shop"), "{text}");
        }
    }

    #[test]
    fn methods_choose_services() {
        let mut query = query("client");
        query.methods = vec!["Add".to_owned()];
        let text = query.text(&services()).unwrap();
        assert!(
            text.contains("\"calc.Add\"") && !text.contains("shop"),
            "{text}"
        );
        query.methods = vec!["List".to_owned()];
        let text = query.text(&services()).unwrap();
        assert!(
            text.contains("calc.List") && text.contains("shop.List"),
            "{text}"
        );
        query.methods = vec!["shop.Shop.List".to_owned()];
        let text = query.text(&services()).unwrap();
        assert!(
            text.contains("shop.List") && !text.contains("calc"),
            "{text}"
        );
        query.methods.push("Sell".to_owned());
        let error = query.text(&services()).unwrap_err().to_string();
        let known = ["\"Sell\"", "calc.Calc.Add", "shop.Shop.Buy"];
        assert!(known.iter().all(|name| error.contains(name)), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut query = query("import");
        let error = query.text(&services()).unwrap_err().to_string();
        assert!(error.contains("exporting account"), "{error}");
        query.from_account = Some("A".to_owned());
        query.format = PermissionsFormat::Nsc;
        let error = query.text(&services()).unwrap_err().to_string();
        assert!(error.contains("importing account"), "{error}");
        query.account = Some("B".to_owned());
        query.to = Some("bought".to_owned());
        let error = query.text(&services()).unwrap_err().to_string();
        assert!(error.contains("several services"), "{error}");
        query.methods = vec!["Add".to_owned()];
        let text = query.text(&services()).unwrap();
        assert!(text.contains("--local-subject 'bought.Add'"), "{text}");

        query.only_for = vec!["B".to_owned()];
        let text = query.text(&services()).unwrap();
        assert!(text.contains("nsc generate activation"), "{text}");
        query.kind = PermissionsKind::Export;
        query.format = PermissionsFormat::NatsConf;
        let text = query.text(&services()).unwrap();
        assert!(text.contains("accounts: [\"B\"]"), "{text}");

        query.format = PermissionsFormat::Nsc;
        query.kind = PermissionsKind::Role(Role::Client);
        let error = query.text(&services()).unwrap_err().to_string();
        assert!(error.contains("name of the user"), "{error}");
        assert!(query.text(&[]).is_err());
        for wrong in ["", "clients"] {
            assert!(
                wrong.parse::<PermissionsKind>().is_err()
                    && wrong.parse::<PermissionsFormat>().is_err()
            );
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for what in ["service", "client", "observer", "export", "import"] {
            assert_eq!(what.parse::<PermissionsKind>().unwrap().to_string(), what);
        }
        for format in ["nats-conf", "nsc"] {
            assert_eq!(
                format.parse::<PermissionsFormat>().unwrap().to_string(),
                format
            );
        }
    }
}
