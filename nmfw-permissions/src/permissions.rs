//! [`Permissions`]: what a service and its clients need of NATS.

use std::{fmt, str::FromStr};

use crate::{
    Error, Rules, ServiceFacts,
    facts::{Method, check_inbox_prefix, facts},
};

/// Where connections have their inboxes unless they are told otherwise.
const INBOX_PREFIX: &str = "_INBOX";

/// Where the NATS server has the inboxes of other accounts.
const MAPPED: &str = "_R_.>";

/// What a user is to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Serves it.
    Service,
    /// Calls it.
    Client,
    /// Looks at it with `nats micro`, and calls nothing.
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
                "there is no role {other:?}; there are: service, client, observer"
            ))),
        }
    }
}

/// The least privileges with which a service, or a client of it, does all that it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permissions {
    role: Role,
    service: ServiceFacts,
    /// `None` is all.
    methods: Option<Vec<String>>,
    inbox_prefix: String,
    callers: Vec<String>,
    waits_ready: bool,
    across_accounts: bool,
}

impl Permissions {
    /// Of a user with a role.
    ///
    /// # Errors
    /// The facts of the service cannot be used on NATS.
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

    /// Of who serves all methods of a service.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn service<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Service, service)
    }

    /// Of who calls all methods of a service, those of its later versions included where they
    /// come in sessions with the service as a whole.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn client<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Client, service)
    }

    /// Of who looks at a service with `nats micro`, and calls nothing. It sees the names of the
    /// account's other services too, since listing asks them all.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn observer<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Self::new(Role::Observer, service)
    }

    /// Some methods only, named as in the `.proto`: of a service those that it serves
    /// (`Service::only`), of a client those that it calls. Called several times, it adds.
    ///
    /// Such a client has no sessions with the service as a whole, which would open the other methods
    /// to it, but one for each method. Its multiplexed unary calls are plain requests.
    ///
    /// # Errors
    /// There is no method of that name, or none is named.
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

    /// The first part of this user's inboxes, that of `ConnectOptions::inbox_prefix`. By default
    /// `_INBOX`, which all users share: who may subscribe there can read the answers to others. A user who
    /// logs in with a name has its inboxes below `_INBOX.<name>` unless it is told otherwise, so that this
    /// is a good prefix for its permissions.
    ///
    /// # Errors
    /// It has a wildcard, an empty token, white space, or a token that begins with `$`.
    pub fn inbox_prefix(mut self, prefix: &str) -> Result<Self, Error> {
        check_inbox_prefix(prefix)?;
        prefix.clone_into(&mut self.inbox_prefix);
        Ok(self)
    }

    /// Of a service: the first parts of the inboxes of those who may call it, in place of `_INBOX`.
    /// Called several times, it adds. Says nothing for other roles.
    ///
    /// # Errors
    /// As [`inbox_prefix`](Self::inbox_prefix).
    pub fn callers_inbox_prefix(mut self, prefix: &str) -> Result<Self, Error> {
        check_inbox_prefix(prefix)?;
        self.callers.push(prefix.to_owned());
        Ok(self)
    }

    /// Of a client: `wait_ready` too, which asks discovery for the services of that name.
    pub fn wait_ready(mut self) -> Self {
        self.waits_ready = true;
        self
    }

    /// For a service that has callers in other accounts, and for a client of a service in another
    /// account; see [`Export`](crate::Export).
    pub fn across_accounts(mut self) -> Self {
        self.across_accounts = true;
        self
    }

    /// What that comes to.
    pub fn rules(&self) -> Rules {
        let (publish, subscribe) = match self.role {
            Role::Service => (self.service_publishes(), self.service_subscribes()),
            Role::Client => (self.client_publishes(), vec![self.inbox()]),
            Role::Observer => {
                let subjects = VERBS.map(|verb| discovery(verb, self.service.name()));
                let base = self.service.subject();
                let asks = [subjects.concat(), vec![health(base), instance_health(base)]];
                (asks.concat(), vec![self.inbox()])
            }
        };
        Rules::new(self.about(), publish, subscribe)
    }

    /// The `permissions` of a user in nats-server's configuration.
    #[must_use]
    pub fn nats_config(&self) -> String {
        self.rules().nats_config()
    }

    /// The `nsc` command that adds a user with these permissions to an account.
    #[must_use]
    pub fn nsc(&self, account: &str, user: &str) -> String {
        self.rules().nsc(account, user)
    }

    fn about(&self) -> String {
        let service = self.service.full_name();
        let what = match self.role {
            Role::Service => "Serves",
            Role::Client => "Calls",
            Role::Observer => return format!("Looks at {service} with `nats micro`."),
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

    /// In the order of the `.proto`.
    fn chosen(&self) -> impl Iterator<Item = &Method> {
        let is_chosen = |method: &&Method| {
            let methods = self.methods.as_ref();
            methods.is_none_or(|methods| methods.contains(&method.name))
        };
        self.service.all().iter().filter(is_chosen)
    }

    /// The queue group of sessions with the service as a whole, if there are any: they serve the
    /// methods that are in the service's own group.
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
        // Requests only in the group that shares them: without it, who may serve could listen in.
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
        rules.push(fence(base));
        rules.push(grouped(health(base), self.service.queue_group()));
        rules.push(instance_health(base));
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
            // A round trip on starting and stopping: to where nobody listens, and to itself.
            rules.push(format!("{}.nmfw.*", self.inbox_prefix));
            if self.inbox_prefix == INBOX_PREFIX {
                // Of a user whose name is known, unless it is told otherwise.
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
            // There packets go to where the NATS server maps them.
            rules.push(MAPPED.to_owned());
        } else {
            if self.methods.is_none() && self.open_group().is_some() {
                rules.push(packets(base));
            }
            let grouped = self.chosen().filter(|m| m.queue_group.is_some());
            rules.extend(grouped.map(|method| method_packets(base, &method.name)));
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

/// Where requests arrive, and what opens sessions: of all methods, or of some.
pub(crate) fn requests(service: &ServiceFacts, methods: Option<&[String]>) -> Vec<String> {
    let base = service.subject();
    let chosen = service
        .all()
        .iter()
        .filter(|method| methods.is_none_or(|methods| methods.contains(&method.name)));
    let mut subjects: Vec<_> = chosen
        .map(|method| format!("{base}.{}", method.name))
        .collect();
    // It opens all methods, also those that a later version has: only for who may call all.
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

fn fence(base: &str) -> String {
    format!("{base}._i.*.fence.*")
}

/// Where a service is asked how it is.
fn health(base: &str) -> String {
    format!("{base}._health")
}

fn instance_health(base: &str) -> String {
    format!("{base}._i.*.health")
}

/// For everybody, for the services of a name, for an instance.
fn discovery(verb: &str, name: &str) -> [String; 3] {
    [
        format!("$SRV.{verb}"),
        format!("$SRV.{verb}.{name}"),
        format!("$SRV.{verb}.{name}.*"),
    ]
}
