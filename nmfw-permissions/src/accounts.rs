//! [`Export`] and [`Import`]: a service in one account, its callers in another.

use std::fmt::Write;

use crate::{Error, ServiceFacts, facts::facts, permissions::requests, text};

/// The subjects of a service that its account shares with others, for requests and for opening
/// sessions.
///
/// Nothing else is exported: the NATS server maps the subjects of answers and of sessions to
/// `_R_.>` by itself. The service and its callers in the other account need
/// [`across_accounts`](crate::Permissions::across_accounts). Discovery stays in the account.
///
/// Any account of the NATS server, or of the operator, can import it, unless
/// [`only_for`](Self::only_for) restricts it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Export {
    service: ServiceFacts,
    methods: Option<Vec<String>>,
    /// `None` for any account.
    accounts: Option<Vec<String>>,
}

/// The import of a service from an account that exports it. Created by [`Export::import_from`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Import {
    export: Export,
    account: String,
    local: String,
}

/// An exported subject, and whether it may have more than one answer.
struct Shared {
    subject: String,
    response_type: &'static str,
}

impl Export {
    /// Exports all methods of a service.
    ///
    /// # Errors
    /// Fails if the facts of the service are not valid on NATS.
    pub fn of<S>(service: S) -> Result<Self, Error>
    where
        S: TryInto<ServiceFacts>,
        Error: From<S::Error>,
    {
        Ok(Self {
            service: facts(service)?,
            methods: None,
            accounts: None,
        })
    }

    /// Restricts the export to some methods, named as in the `.proto`. Repeated calls add methods.
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

    /// Restricts the export to these accounts, named as in nats-server's configuration. Repeated
    /// calls add accounts. With `nsc`, each account needs an activation, which the commands of
    /// [`Import::nsc`] create; the names do not matter there.
    ///
    /// # Errors
    /// Fails if no account is named, or if a name is empty.
    pub fn only_for<A: AsRef<str>>(
        mut self,
        accounts: impl IntoIterator<Item = A>,
    ) -> Result<Self, Error> {
        let names = accounts.into_iter().map(|name| name.as_ref().to_owned());
        let all = self.accounts.get_or_insert_default();
        all.extend(names);
        if all.is_empty() || all.iter().any(String::is_empty) {
            return Err(Error::new(format!(
                "the export of {} names no account, or an account with an empty name",
                self.service.full_name()
            )));
        }
        Ok(self)
    }

    /// Returns the import for another account. `account` is the exporting account: its name in
    /// nats-server's configuration; for `nsc`, its name or its public key.
    pub fn import_from(&self, account: &str) -> Import {
        Import {
            export: self.clone(),
            account: account.to_owned(),
            local: self.service.subject().to_owned(),
        }
    }

    /// Returns the `exports` of an account in nats-server's configuration.
    #[must_use]
    pub fn nats_config(&self) -> String {
        list("exports", [self.config_entries()])
    }

    /// Returns the entries without the enclosing list, because an account has one list for several
    /// services.
    pub(crate) fn config_entries(&self) -> String {
        let mut out = self.about("Shared with other accounts");
        for shared in self.shared() {
            let subject = text::config(&shared.subject);
            let response = shared.response_type;
            // Writing to a string does not fail, here and below.
            _ = write!(out, "{{ service: {subject}, response_type: {response}");
            if let Some(accounts) = &self.accounts {
                let accounts: Vec<_> = accounts.iter().map(|name| text::config(name)).collect();
                _ = write!(out, ", accounts: [{}]", accounts.join(", "));
            }
            out.push_str(" }\n");
        }
        out
    }

    /// Returns the `nsc` commands that add the exports to an account.
    #[must_use]
    pub fn nsc(&self, account: &str) -> String {
        self.nsc_quoted(&text::shell(account))
    }

    /// Returns the same commands as a script for `sh`, with the account as its argument.
    #[must_use]
    pub fn nsc_script(&self) -> String {
        let commands = self.nsc_quoted("\"$account\"");
        format!(
            "#!/bin/sh\n# usage: sh FILE ACCOUNT\nset -eu\naccount=${{1:?the account}}\n{commands}"
        )
    }

    fn nsc_quoted(&self, account: &str) -> String {
        let mut out = self.about("Shared with other accounts");
        let private = self.accounts.as_ref().map_or("", |_| " --private");
        for shared in self.shared() {
            let subject = text::shell(&shared.subject);
            let response = shared.response_type;
            _ = writeln!(
                out,
                "nsc add export --account {account} --name {subject} --service --subject {subject} --response-type {response}{private}"
            );
        }
        out
    }

    fn about(&self, what: &str) -> String {
        let methods = match &self.methods {
            None => "all methods".to_owned(),
            Some(methods) => methods.join(", "),
        };
        format!("# {what}: {}, {methods}.\n", self.service.full_name())
    }

    fn shared(&self) -> impl Iterator<Item = Shared> {
        let subjects = requests(&self.service, self.methods.as_deref());
        subjects.into_iter().map(|subject| {
            let base = self.service.subject();
            let name = subject
                .strip_prefix(base)
                .and_then(|rest| rest.strip_prefix('.'));
            let method = self
                .service
                .all()
                .iter()
                .find(|m| Some(m.name.as_str()) == name);
            // Without a queue group there are no sessions, so the first answer is the only one.
            let single = method.is_some_and(|method| method.queue_group.is_none());
            Shared {
                response_type: if single { "Singleton" } else { "Stream" },
                subject,
            }
        })
    }
}

impl Import {
    /// Sets another subject for the service in the importing account. Clients there need to set it
    /// too (`Channel::subject`), and need permissions for it ([`ServiceFacts::with_subject`]).
    ///
    /// # Errors
    /// Fails if the subject has a wildcard, an empty token, white space, or a token that begins
    /// with `_` or `$`.
    pub fn to(mut self, subject: &str) -> Result<Self, Error> {
        self.export.service.clone().with_subject(subject)?;
        subject.clone_into(&mut self.local);
        Ok(self)
    }

    /// Returns the `imports` of an account in nats-server's configuration.
    #[must_use]
    pub fn nats_config(&self) -> String {
        list("imports", [self.config_entries()])
    }

    pub(crate) fn config_entries(&self) -> String {
        let mut out = self.export.about("Imported from another account");
        for (remote, local) in self.subjects() {
            let account = text::config(&self.account);
            let subject = text::config(&remote);
            _ = write!(
                out,
                "{{ service: {{ account: {account}, subject: {subject} }}"
            );
            if remote != local {
                _ = write!(out, ", to: {}", text::config(&local));
            }
            out.push_str(" }\n");
        }
        out
    }

    /// Returns the `nsc` commands that add the imports to an account. An exporting account that
    /// `nsc` does not know has to be given by its public key. For an export [to some accounts
    /// only](Export::only_for), the commands create activations, for which `nsc` needs to know both
    /// accounts.
    #[must_use]
    pub fn nsc(&self, account: &str) -> String {
        self.nsc_quoted(&text::shell(account), &text::shell(&self.account))
    }

    /// Returns the same commands as a script for `sh`, with this account and the exporting one as
    /// its arguments.
    #[must_use]
    pub fn nsc_script(&self) -> String {
        let commands = self.nsc_quoted("\"$account\"", "\"$exporter\"");
        format!(
            "#!/bin/sh\n# usage: sh FILE ACCOUNT EXPORTING_ACCOUNT\nset -eu\naccount=${{1:?the account}}\nexporter=${{2:?the exporting account, by its name or public key}}\n{commands}"
        )
    }

    fn nsc_quoted(&self, account: &str, exporter: &str) -> String {
        let mut out = self.export.about("Imported from another account");
        for (remote, local) in self.subjects() {
            let (remote, local) = (text::shell(&remote), text::shell(&local));
            let import = format!("nsc add import --account {account} --name {local}");
            _ = if self.export.accounts.is_none() {
                writeln!(
                    out,
                    "{import} --service --src-account {exporter} --remote-subject {remote} --local-subject {local}"
                )
            } else {
                writeln!(
                    out,
                    "activation=$(mktemp -d)\n\
                     nsc generate activation --account {exporter} --target-account {account} --subject {remote} --output-file \"$activation/jwt\"\n\
                     {import} --token \"$activation/jwt\" --local-subject {local}\n\
                     rm -r \"$activation\""
                )
            };
        }
        out
    }

    /// Returns each subject in the exporting account, and in this one.
    fn subjects(&self) -> impl Iterator<Item = (String, String)> {
        let base = self.export.service.subject();
        self.export.shared().map(move |shared| {
            let below = shared.subject.strip_prefix(base).unwrap_or_default();
            let local = format!("{}{below}", self.local);
            (shared.subject, local)
        })
    }
}

/// Formats a list of an account in nats-server's configuration.
pub(crate) fn list(name: &str, entries: impl IntoIterator<Item = String>) -> String {
    let mut out = format!("{name}: [\n");
    for entries in entries {
        for line in entries.lines() {
            _ = writeln!(out, "  {line}");
        }
    }
    out.push_str("]\n");
    out
}
