//! [`Permissions`]: the NATS permissions that users need, printed.

use std::{io::Write, process::ExitCode};

use clap::{Args, ValueEnum};

use super::{BoxError, IntoServices, failure};
use crate::permissions::{Format, Query, Role, ServiceFacts, What};

// Included, as clap would take a comment here for the text of a help.
#[doc = include_str!("../docs/cli/permissions.md")]
#[derive(Clone, Debug, Args)]
#[group(id = "nmfw::cli::Permissions")]
pub struct Permissions {
    /// Whose permissions, or which side of the border between accounts
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Of,

    /// Only these methods, with commas between, or the option several times
    ///
    /// They are named as in the .proto: Add, or calc.Calc.Add where several services have an Add.
    /// Without it they are all methods.
    #[arg(
        long = "method",
        alias = "methods",
        value_name = "A,B",
        value_delimiter = ','
    )]
    methods: Vec<String>,

    /// Which language to print them in
    #[arg(long, value_enum, default_value_t = Language::NatsConf)]
    format: Language,

    /// The account that the user, the exports or the imports are of; nsc needs it
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    account: Option<String>,

    /// The user's name; nsc needs it
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    user: Option<String>,

    /// For a user of calls that go across accounts
    #[arg(long, help_heading = "Accounts")]
    across_accounts: bool,

    /// Imports: the account that exports
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    from_account: Option<String>,

    /// Imports: the subject that the service gets in the account that imports
    #[arg(long, value_name = "SUBJECT", help_heading = "Accounts")]
    to: Option<String>,

    /// Exports: for these accounts alone, with commas between
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Accounts"
    )]
    only_for: Vec<String>,

    /// The user's inboxes begin with this, not with _INBOX
    #[arg(long, value_name = "PREFIX", help_heading = "Inboxes")]
    inbox_prefix: Option<String>,

    /// A service: the inboxes of its callers begin with these, with commas between
    #[arg(
        long = "callers-inbox-prefix",
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Inboxes"
    )]
    callers_inbox_prefixes: Vec<String>,

    /// A client: it may wait for the service, too
    #[arg(long)]
    wait_ready: bool,
}

/// What the permissions are of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// An instance of the service
    Service,
    /// Who calls it
    Client,
    /// Who looks at it with `nats micro`
    Observer,
    /// The service's account lets other accounts call it
    Export,
    /// Another account calls it
    Import,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// nats-server's configuration
    NatsConf,
    /// Commands of nsc
    Nsc,
}

impl From<Of> for What {
    fn from(of: Of) -> Self {
        match of {
            Of::Service => Self::Role(Role::Service),
            Of::Client => Self::Role(Role::Client),
            Of::Observer => Self::Role(Role::Observer),
            Of::Export => Self::Export,
            Of::Import => Self::Import,
        }
    }
}

impl From<Language> for Format {
    fn from(language: Language) -> Self {
        match language {
            Language::NatsConf => Self::NatsConf,
            Language::Nsc => Self::Nsc,
        }
    }
}

impl Permissions {
    /// Prints them for these services, with what was set for them, and tells the exit status. Connects
    /// to nothing.
    pub fn print(self, services: impl IntoServices) -> ExitCode {
        match self.try_print(services) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&*error),
        }
    }

    fn try_print(self, services: impl IntoServices) -> Result<(), BoxError> {
        let services = services.into_services();
        let facts = services.iter().map(ServiceFacts::try_from);
        let facts: Vec<_> = facts.collect::<Result<_, _>>()?;
        let text = self.query().text(&facts)?;
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    fn query(self) -> Query {
        let mut query = Query::new(self.role.into());
        query.format = self.format.into();
        query.methods = self.methods;
        query.account = self.account;
        query.user = self.user;
        query.only_for = self.only_for;
        query.from_account = self.from_account;
        query.to = self.to;
        query.wait_ready = self.wait_ready;
        query.across_accounts = self.across_accounts;
        query.inbox_prefix = self.inbox_prefix;
        query.callers_inbox_prefixes = self.callers_inbox_prefixes;
        query
    }
}
