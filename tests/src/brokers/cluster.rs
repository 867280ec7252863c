//! Clusters of servers.

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::{Failure, NatsServer, eventually, free_port};

/// The time that servers may take to connect to each other.
const LIMIT: Duration = Duration::from_secs(30);

/// A cluster of nats-servers, each with a route to all others.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NatsServer>,
}

impl Cluster {
    /// Starts `nodes` servers, and waits until all are connected.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn start(nodes: usize) -> Result<Self, Failure> {
        Self::start_with(nodes, "").await
    }

    /// Like [`start`](Self::start), with additional configuration for each node.
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
            // A server ignores routes to itself.
            let config =
                format!("cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: {routes} }}");
            NatsServer::builder().config(config).config(more).start()
        });
        let nodes = try_join_all(nodes).await?;
        let cluster = Self { nodes };
        cluster.is_whole().await;
        Ok(cluster)
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the URLs of all nodes, beginning with node `first`.
    #[must_use]
    pub fn urls(&self, first: usize) -> Vec<String> {
        let mut urls: Vec<_> = self.nodes.iter().map(NatsServer::url).collect();
        urls.rotate_left(first);
        urls
    }

    /// Starts the lame-duck mode of a node, which asks its clients to leave and then shuts down.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::lame_duck`].
    pub fn lame_duck(&self, node: usize) -> Result<(), Failure> {
        self.nodes[node].lame_duck()
    }

    /// Returns the lines with this text in the logs of all nodes.
    #[must_use]
    pub fn logged(&self, text: &str) -> Vec<String> {
        let logs = self.nodes.iter().map(|node| node.log().text());
        logs.flat_map(|log| {
            let lines = log.lines().filter(|line| line.contains(text));
            lines.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Kills a node with `SIGKILL`, and starts it again after a pause. Returns when the cluster is
    /// complete.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::restart`].
    pub async fn bounce(&mut self, node: usize) -> Result<(), Failure> {
        self.nodes[node].restart().await?;
        self.is_whole().await;
        Ok(())
    }

    /// Waits until every node delivers messages to all others.
    ///
    /// # Panics
    ///
    /// Panics if that takes too long.
    pub async fn is_whole(&self) {
        for node in &self.nodes {
            eventually(LIMIT, || async {
                let client = async_nats::connect(node.url())
                    .await
                    .map_err(|error| error.to_string())?;
                match client.server_info().connect_urls.len() {
                    known if known >= self.nodes.len() => Ok(()),
                    known => Err(format!("it is connected to {known} servers")),
                }
            })
            .await;
        }
    }
}
