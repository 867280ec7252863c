//! [`Permissions`]: the least NATS permissions of a service and its clients.

use std::{fmt, str::FromStr};

use crate::{
    Error, Rules, ServiceFacts,
    facts::{Method, check_inbox_prefix, facts},
};

/// Default prefix of a connection's inboxes.
const INBOX_PREFIX: &str = "_INBOX";

/// The subjects to which the NATS server maps the inboxes of other accounts.
const MAPPED: &str = "_R_.>";

/// The role of a user towards a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Serves the service.
    Service,
    /// Calls the service.
    Client,
    /// Inspects the service with `nats micro`, without calling it.
    Observer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Client => "client",
            Self::Observer => "observer",
        })
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "service" => Ok(Self::Service),
            "client" => Ok(Self::Client),
            "observer" => Ok(Self::Observer),
            other => Err(Error::new(format!(
                "unknown role {other:?}: the roles are service, client and observer"
            ))),
        }
    }
}

/// The least permissions with which a service, or a client of it, works completely.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permissions {
    role: Role,
    service: ServiceFacts,
    /// `None` for all methods.
    methods: Option<Vec<String>>,
    inbox_prefix: String,
    callers: Vec<String>,
    waits_ready: bool,
    across_accounts: bool,
}

impl Permissions {
    /// Creates the permissions of a user with a role.
    ///
    /// # Errors
    /// Fails if the facts of the service are not valid on NATS.
    pub fn new<S>(role: Role, service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Ok(Self {
            role,
            service: facts(service)?,
            methods: None,
            inbox_prefix: INBOX_PREFIX.to_owned(),
            callers: Vec::new(),
            waits_ready: false,
            across_accounts: false,
        })
    }

    /// Creates the permissions to serve all methods of a service.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn service<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Service, service)
    }

    /// Creates the permissions to call all methods of a service, including methods of later
    /// versions if they are called in sessions with the service as a whole.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn client<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Client, service)
    }

    /// Creates the permissions to inspect a service with `nats micro`, without calling it. The user
    /// also sees the names of the account's other services, because listing queries all of them.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn observer<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Observer, service)
    }

    /// Restricts the permissions to some methods, named as in the `.proto`: those that a service
    /// serves (`Service::only`), or those that a client calls. Repeated calls add methods.
    ///
    /// Such a client cannot open sessions with the service as a whole, which would give it access
    /// to the other methods, but opens a session per method. Its multiplexed unary calls are plain
    /// requests.
    ///
    /// # Errors
    /// Fails if there is no method of that name, or if no method is named.
    pub fn methods<M: AsRef<str>>(
        mut self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, Error> {
        let methods: Vec<_> = methods.into_iter().collect();
        self.service.check_methods(&methods)?;
        let names = methods.iter().map(|method| method.as_ref().to_owned());
        self.methods.get_or_insert_default().extend(names);
        Ok(self)
    }

    /// Sets the prefix of this user's inboxes, as in `ConnectOptions::inbox_prefix`. The default is
    /// `_INBOX`, which all users share, so each can read the answers to all others. A user that
    /// logs in with a name has its inboxes below `_INBOX.<name>` by default, so that is a good
    /// prefix for its permissions.
    ///
    /// # Errors
    /// Fails if it has a wildcard, an empty token, white space, or a token that begins with `$`.
    pub fn inbox_prefix(mut self, prefix: &str) -> Result<Self, Error> {
        check_inbox_prefix(prefix)?;
        prefix.clone_into(&mut self.inbox_prefix);
        Ok(self)
    }

    /// Adds a prefix of the inboxes of a service's callers, in place of `_INBOX`. It has no effect
    /// for other roles.
    ///
    /// # Errors
    /// Fails like [`inbox_prefix`](Self::inbox_prefix).
    pub fn callers_inbox_prefix(mut self, prefix: &str) -> Result<Self, Error> {
        check_inbox_prefix(prefix)?;
        self.callers.push(prefix.to_owned());
        Ok(self)
    }

    /// Permits a client to use `wait_ready`, which queries discovery for services of this name.
    pub fn wait_ready(mut self) -> Self {
        self.waits_ready = true;
        self
    }

    /// Permits calls between accounts: for a service with callers in other accounts, and for a
    /// client of a service in another account. See [`Export`](crate::Export).
    pub fn across_accounts(mut self) -> Self {
        self.across_accounts = true;
        self
    }

    /// Returns the rules for the NATS server.
    pub fn rules(&self) -> Rules {
        let (publish, subscribe) = match self.role {
            Role::Service => (self.service_publishes(), self.service_subscribes()),
            Role::Client => (self.client_publishes(), vec![self.inbox()]),
            Role::Observer => {
                let subjects = VERBS.map(|verb| discovery(verb, self.service.name()));
                let base = self.service.subject();
                let asks = vec![
                    health(base),
                    instance_health(base),
                    schema(base),
                    instance_schema(base),
                ];
                let asks = [subjects.concat(), asks];
                (asks.concat(), vec![self.inbox()])
            }
        };
        Rules::new(self.about(), publish, subscribe)
    }

    /// Returns the `permissions` of a user in nats-server's configuration.
    #[must_use]
    pub fn nats_config(&self) -> String {
        self.rules().nats_config()
    }

    /// Returns the `nsc` command that adds a user with these permissions to an account.
    #[must_use]
    pub fn nsc(&self, account: &str, user: &str) -> String {
        self.rules().nsc(account, user)
    }

    fn about(&self) -> String {
        let service = self.service.full_name();
        let what = match self.role {
            Role::Service => "Serves",
            Role::Client => "Calls",
            Role::Observer => return format!("Inspects {service} with `nats micro`."),
        };
        let methods = match &self.methods {
            None => "all methods".to_owned(),
            Some(_) => {
                let names: Vec<_> = self.chosen().map(|method| method.name.as_str()).collect();
                names.join(", ")
            }
        };
        format!("{what} {service}: {methods}.")
    }

    /// Returns the selected methods, in the order of the `.proto`.
    fn chosen(&self) -> impl Iterator<Item = &Method> {
        let is_chosen = |method: &&Method| {
            let methods = self.methods.as_ref();
            methods.is_none_or(|methods| methods.contains(&method.name))
        };
        self.service.all().iter().filter(is_chosen)
    }

    /// Returns the queue group of sessions with the service as a whole, if it has any: they serve
    /// the methods in the service's own group.
    fn open_group(&self) -> Option<&str> {
        let group = self.service.queue_group()?;
        let mut methods = self.chosen();
        let has_any = methods.any(|method| method.queue_group.as_deref() == Some(group));
        has_any.then_some(group)
    }

    fn inbox(&self) -> String {
        format!("{}.>", self.inbox_prefix)
    }

    fn service_subscribes(&self) -> Vec<String> {
        let base = self.service.subject();
        // Requests are allowed only in the queue group, because an instance could otherwise read
        // the requests of others.
        let grouped = |subject: String, group: Option<&str>| match group {
            Some(group) => format!("{subject} {group}"),
            None => subject,
        };
        let mut rules: Vec<_> = self
            .chosen()
            .map(|m| grouped(format!("{base}.{}", m.name), m.queue_group.as_deref()))
            .collect();
        if let Some(group) = self.open_group() {
            rules.push(grouped(open(base), Some(group)));
        }
        if self.chosen().any(|method| method.queue_group.is_some()) {
            rules.push(packets(base));
            rules.push(method_packets(base, "*"));
        }
        rules.push(pinned(base, "*"));
        rules.push(fence(base));
        rules.push(grouped(health(base), self.service.queue_group()));
        rules.push(instance_health(base));
        rules.push(grouped(schema(base), self.service.queue_group()));
        rules.push(instance_schema(base));
        for verb in VERBS {
            rules.extend(discovery(verb, self.service.name()));
        }
        rules
    }

    fn service_publishes(&self) -> Vec<String> {
        let own = std::slice::from_ref(&self.inbox_prefix);
        let callers = if self.callers.is_empty() {
            own
        } else {
            &self.callers
        };
        let mut rules: Vec<_> = callers.iter().map(|prefix| format!("{prefix}.>")).collect();
        if !callers.contains(&self.inbox_prefix) {
            // Needed for round trips during startup and shutdown, to a subject without subscribers
            // and to the service itself.
            rules.push(format!("{}.nmfw.*", self.inbox_prefix));
            if self.inbox_prefix == INBOX_PREFIX {
                // The default prefix of a user whose name is known.
                rules.push(format!("{INBOX_PREFIX}.*.nmfw.*"));
            }
        }
        if self.across_accounts {
            rules.push(MAPPED.to_owned());
        }
        rules.push(fence(self.service.subject()));
        rules
    }

    fn client_publishes(&self) -> Vec<String> {
        let base = self.service.subject();
        let mut rules = requests(&self.service, self.methods.as_deref());
        if self.across_accounts {
            // The NATS server maps the packets of other accounts to these subjects.
            rules.push(MAPPED.to_owned());
        } else {
            if self.methods.is_none() && self.open_group().is_some() {
                rules.push(packets(base));
            }
            let grouped = self.chosen().filter(|m| m.queue_group.is_some());
            rules.extend(grouped.map(|method| method_packets(base, &method.name)));
        }
        rules.extend(self.chosen().map(|method| pinned(base, &method.name)));
        if self.methods.is_none() && self.open_group().is_some() {
            rules.push(pinned(base, "_open"));
        }
        if self.chosen().next().is_some() {
            rules.push(instance_schema(base));
        }
        if self.waits_ready {
            rules.push(discovery("INFO", self.service.name())[1].clone());
        }
        rules
    }
}

impl From<Permissions> for Rules {
    fn from(permissions: Permissions) -> Self {
        permissions.rules()
    }
}

const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

/// Returns the subjects of requests, of opening sessions, and of the schema, for all methods or for
/// some.
pub(crate) fn requests(service: &ServiceFacts, methods: Option<&[String]>) -> Vec<String> {
    let base = service.subject();
    let chosen = service
        .all()
        .iter()
        .filter(|method| methods.is_none_or(|methods| methods.contains(&method.name)));
    let mut subjects: Vec<_> = chosen
        .map(|method| format!("{base}.{}", method.name))
        .collect();
    // Sessions with the service give access to all methods, including those of later versions, so
    // only callers of all methods may open them.
    let group = service.queue_group();
    let has_any = |group| {
        service
            .all()
            .iter()
            .any(|m| m.queue_group.as_deref() == group)
    };
    if methods.is_none() && group.is_some() && has_any(group) {
        subjects.push(open(base));
    }
    if !subjects.is_empty() {
        subjects.push(schema(base));
    }
    subjects
}

fn open(base: &str) -> String {
    format!("{base}._open")
}

fn packets(base: &str) -> String {
    format!("{base}._i.*.s.*")
}

fn method_packets(base: &str, method: &str) -> String {
    format!("{base}._m.{method}.*.*")
}

/// Returns the subject of requests to one instance, for a method.
fn pinned(base: &str, method: &str) -> String {
    format!("{base}._i.*.m.{method}")
}

fn fence(base: &str) -> String {
    format!("{base}._i.*.fence.*")
}

/// Returns the subject of the service's health endpoint.
fn health(base: &str) -> String {
    format!("{base}._health")
}

fn instance_health(base: &str) -> String {
    format!("{base}._i.*.health")
}

/// Returns the subject on which any instance sends the service's schema.
fn schema(base: &str) -> String {
    format!("{base}._schema")
}

fn instance_schema(base: &str) -> String {
    format!("{base}._i.*.schema")
}

/// Returns the subjects of a discovery verb: for all services, for a name, and for an instance.
fn discovery(verb: &str, name: &str) -> [String; 3] {
    [
        format!("$SRV.{verb}"),
        format!("$SRV.{verb}.{name}"),
        format!("$SRV.{verb}.{name}.*"),
    ]
}
