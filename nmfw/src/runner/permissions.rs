//! [`Permissions`]: prints the NATS permissions of users.

use std::{io::Write, process::ExitCode};

use clap::{Args, ValueEnum};

use super::{BoxError, IntoServices, failure};
use crate::permissions::{
    PermissionsFormat, PermissionsKind, PermissionsQuery, Role, ServiceFacts,
};

// Included from a file, because clap would use a comment here as a help text.
#[doc = include_str!("../docs/cli/permissions.md")]
#[derive(Clone, Debug, Args)]
#[group(id = "nmfw::cli::Permissions")]
pub struct Permissions {
    /// The role of the user, or the side of an export between accounts
    #[arg(long, value_enum, value_name = "ROLE")]
    role: KindArg,

    /// Only these methods, separated by commas or repeated options
    ///
    /// Methods are named as in the .proto: Add, or calc.Calc.Add if several services have an Add.
    /// The default is all methods.
    #[arg(
        long = "method",
        alias = "methods",
        value_name = "A,B",
        value_delimiter = ','
    )]
    methods: Vec<String>,

    /// The output format
    #[arg(long, value_enum, default_value_t = FormatArg::NatsConf)]
    format: FormatArg,

    /// The account of the user, the exports or the imports; required for nsc
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    account: Option<String>,

    /// The name of the user; required for nsc
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    user: Option<String>,

    /// For calls between accounts
    #[arg(long, help_heading = "Accounts")]
    across_accounts: bool,

    /// For imports: the exporting account
    #[arg(long, value_name = "NAME", help_heading = "Accounts")]
    from_account: Option<String>,

    /// For imports: the subject of the service in the importing account
    #[arg(long, value_name = "SUBJECT", help_heading = "Accounts")]
    to: Option<String>,

    /// For exports: only to these accounts, separated by commas
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Accounts"
    )]
    only_for: Vec<String>,

    /// Prefix of the user's inboxes, in place of _INBOX
    #[arg(long, value_name = "PREFIX", help_heading = "Inboxes")]
    inbox_prefix: Option<String>,

    /// For a service: prefixes of its callers' inboxes, separated by commas
    #[arg(
        long = "callers-inbox-prefix",
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Inboxes"
    )]
    callers_inbox_prefixes: Vec<String>,

    /// For a client: also permit waiting for the service
    #[arg(long)]
    wait_ready: bool,
}

/// The user, or the side of an export, that gets the permissions.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    /// An instance of the service
    Service,
    /// A client of the service
    Client,
    /// An observer that uses `nats micro`
    Observer,
    /// The exports of the service's account
    Export,
    /// The imports of a calling account
    Import,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// nats-server's configuration
    NatsConf,
    /// Commands of nsc
    Nsc,
}

impl From<KindArg> for PermissionsKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Service => Self::Role(Role::Service),
            KindArg::Client => Self::Role(Role::Client),
            KindArg::Observer => Self::Role(Role::Observer),
            KindArg::Export => Self::Export,
            KindArg::Import => Self::Import,
        }
    }
}

impl From<FormatArg> for PermissionsFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::NatsConf => Self::NatsConf,
            FormatArg::Nsc => Self::Nsc,
        }
    }
}

impl Permissions {
    /// Prints the permissions for these services with their settings, and returns the exit status.
    /// Needs no connection.
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

    /// Returns the query of these arguments, for tools that know services only by their
    /// [`ServiceFacts`].
    #[must_use]
    pub fn query(self) -> PermissionsQuery {
        let mut query = PermissionsQuery::new(self.role.into());
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
