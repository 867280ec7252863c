//! Servers that know each other.

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::{Failure, NatsServer, eventually, free_port};

/// How long servers may take to find each other.
const LIMIT: Duration = Duration::from_secs(30);

/// A cluster of nats-servers, each with a route to all others.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NatsServer>,
}

impl Cluster {
    /// Starts so many nodes, and waits until each knows of all.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn start(nodes: usize) -> Result<Self, Failure> {
        Self::start_with(nodes, "").await
    }

    /// The same, with more configuration for each node.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn start_with(nodes: usize, more: &str) -> Result<Self, Failure> {
        let ports = (0..nodes)
            .map(|_| free_port())
            .collect::<Result<Vec<_>, _>>()?;
        let routes = ports.iter().map(|port| format!("nats://127.0.0.1:{port}"));
        let routes = format!("{:?}", routes.collect::<Vec<_>>());
        let nodes = ports.iter().map(|port| {
            // A server leaves a route to itself out.
            let config =
                format!("cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: {routes} }}");
            NatsServer::builder().config(config).config(more).start()
        });
        let nodes = try_join_all(nodes).await?;
        let cluster = Self { nodes };
        cluster.is_whole().await;
        Ok(cluster)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The URLs of all nodes, beginning with this one.
    #[must_use]
    pub fn urls(&self, first: usize) -> Vec<String> {
        let mut urls: Vec<_> = self.nodes.iter().map(NatsServer::url).collect();
        urls.rotate_left(first);
        urls
    }

    /// Has a node ask its clients to leave, and then shut down.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::lame_duck`].
    pub fn lame_duck(&self, node: usize) -> Result<(), Failure> {
        self.nodes[node].lame_duck()
    }

    /// The lines in the logs of all nodes that hold this text.
    #[must_use]
    pub fn logged(&self, text: &str) -> Vec<String> {
        let logs = self.nodes.iter().map(|node| node.log().text());
        logs.flat_map(|log| {
            let lines = log.lines().filter(|line| line.contains(text));
            lines.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
    }

    /// `SIGKILL`, a moment of silence, and the same node again. Comes back when the cluster is whole.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::restart`].
    pub async fn bounce(&mut self, node: usize) -> Result<(), Failure> {
        self.nodes[node].restart().await?;
        self.is_whole().await;
        Ok(())
    }

    /// Waits until every node passes messages on to all others.
    ///
    /// # Panics
    ///
    /// Panics if that does not come to be.
    pub async fn is_whole(&self) {
        for node in &self.nodes {
            eventually(LIMIT, || async {
                let client = async_nats::connect(node.url())
                    .await
                    .map_err(|error| error.to_string())?;
                match client.server_info().connect_urls.len() {
                    known if known >= self.nodes.len() => Ok(()),
                    known => Err(format!("it knows of {known} servers")),
                }
            })
            .await;
        }
    }
}
