//! `nmfw permissions`: the permissions that users need for a live service.

use clap::Args;
use clap_complete::ArgValueCompleter;

use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Verb, find},
    facts::Facts,
    failure::Failure,
    output::Output,
};

/// Print the NATS permissions that a user needs for a service
///
/// Prints the least permissions for an instance of the service, for its clients, or for some of its
/// methods, and exports from one account to another, from what its instances say about it.
#[derive(Debug, Args)]
pub(crate) struct Permissions {
    /// The service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: String,

    #[command(flatten)]
    query: nmfw::cli::Permissions,
}

impl Permissions {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let nats = connect(global).await?;
        let verbs = [Verb::Ping, Verb::Info];
        let survey = find(&nats, Some(&self.service), None, &verbs, global.timeout).await?;
        let facts = Facts::of(&survey.instances)?.permissions()?;
        let text = self.query.query().text(&[facts]);
        let text = text.map_err(|error| Failure::new(error.to_string()))?;
        output.print(&text)
    }
}
