//! The processes of a setup: a broker, and a peer's servers and clients.

use nmfw_tests::{Failure, NatsServer, failure::Doing};
use tokio::process::Command;

use crate::{
    launch::{Launcher, Part},
    peer::Peer,
    process::Process,
    setup::{Broker, Setup},
};

/// The processes of a peer in a setup.
pub(crate) struct Party {
    pub(crate) peer: Peer,
    pub(crate) setup: Setup,
    pub(crate) servers: Vec<Process>,
    pub(crate) client: Process,
}

/// The broker of a setup.
pub(crate) enum Running {
    NatsServer(Box<NatsServer>),
    Embedded(Box<Process>),
}

impl Party {
    /// Starts the servers, one by one, and then the clients.
    pub(crate) async fn start(
        launcher: &Launcher,
        setup: Setup,
        broker: &Running,
    ) -> Result<Self, Failure> {
        let peer = launcher.peer;
        let mut servers = Vec::new();
        let instances = if peer.is_local() { 0 } else { setup.instances };
        for number in 0..instances {
            servers.push(Self::server(launcher, setup, broker, number).await?);
        }
        let client = Self::client(launcher, setup, broker, &servers).await?;
        Ok(Self {
            peer,
            setup,
            servers,
            client,
        })
    }

    pub(crate) async fn server(
        launcher: &Launcher,
        setup: Setup,
        broker: &Running,
        number: usize,
    ) -> Result<Process, Failure> {
        let command = launcher.command(Part::Server, &broker.url(), &setup);
        Process::start(command, format!("{}'s server {number}", launcher.peer)).await
    }

    pub(crate) async fn client(
        launcher: &Launcher,
        setup: Setup,
        broker: &Running,
        servers: &[Process],
    ) -> Result<Process, Failure> {
        let address = servers
            .first()
            .map_or_else(|| broker.url(), |server| server.address.clone());
        let command = launcher.command(Part::Clients(setup.clients), &address, &setup);
        Process::start(command, format!("{}'s client", launcher.peer)).await
    }

    pub(crate) fn server_pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(Process::pid).collect()
    }

    pub(crate) fn client_pids(&self) -> Vec<u32> {
        self.client.pid().into_iter().collect()
    }

    pub(crate) async fn stop(self) {
        // The client first, because it would report errors if its server stopped before.
        self.client.stop().await;
        for server in self.servers {
            server.stop().await;
        }
    }
}

impl Running {
    pub(crate) async fn start(kind: Broker) -> Result<Self, Failure> {
        match kind {
            Broker::NatsServer => {
                let server = NatsServer::start().await?;
                Ok(Self::NatsServer(Box::new(server)))
            }
            Broker::Embedded => {
                let program = std::env::current_exe().doing("find this program")?;
                let mut command = Command::new(program);
                command.arg("broker");
                let name = "the embedded broker".to_owned();
                let process = Process::start(command, name).await?;
                Ok(Self::Embedded(Box::new(process)))
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::NatsServer(server) => server.url(),
            Self::Embedded(process) => process.address.clone(),
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let pid = match self {
            Self::NatsServer(server) => server.pid(),
            Self::Embedded(process) => process.pid(),
        };
        pid.into_iter().collect()
    }

    pub(crate) async fn stop(self) {
        if let Self::Embedded(process) = self {
            process.stop().await;
        }
    }
}
