//! Servers as configured in `docs/operations.md`, on this machine: regions connected by gateways,
//! and a server at the edge.

use nmfw::async_nats::ConnectionExt as _;
use std::{collections::BTreeMap, time::Duration};

use futures_util::future::try_join_all;

use crate::{Failure, NatsServer, Proxy, eventually, free_port};

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

/// The time that servers may take to connect to each other.
const LIMIT: Duration = Duration::from_secs(30);

/// Returns the text of the first fenced block after a line that ends with `end`.
///
/// # Errors
///
/// Fails if there is no such block.
fn block(end: &str) -> Result<&'static str, Failure> {
    let find = || {
        let (_, rest) = DOCUMENT.split_once(&format!("{end}\n"))?;
        let (_, rest) = rest.split_once("```text\n")?;
        Some(rest.split_once("```")?.0)
    };
    find().ok_or_else(|| {
        let text = format!("docs/operations.md has no block after a line that ends with {end:?}");
        Failure::new(text)
    })
}

/// Two regions of two servers each, with gateways between them.
#[derive(Debug)]
pub struct Regions {
    /// The servers of the region `eu`.
    pub eu: Vec<NatsServer>,
    /// The servers of the region `us`.
    pub us: Vec<NatsServer>,
}

impl Regions {
    /// Starts all servers, and waits until those of each region are connected, and the regions to
    /// each other.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn start() -> Result<Self, Failure> {
        Self::with("", "").await
    }

    /// Like [`start`](Self::start), with additional configuration for all servers, and a login that
    /// they accept, as `user:password@`.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn with(further: &str, login: &str) -> Result<Self, Failure> {
        let mut ports = BTreeMap::new();
        for host in ["eu-1", "eu-2", "us-1", "us-2"] {
            for port in [6222, 7222] {
                ports.insert((host, port), free_port()?);
            }
        }
        let eu = block("of the region `eu`:")?;
        // "The same with both names exchanged".
        let us = eu.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        let us: String = us
            .map(|word| match word.split_at_checked(2) {
                Some(("eu", rest)) => format!("us{rest}"),
                Some(("us", rest)) => format!("eu{rest}"),
                _ => word.to_owned(),
            })
            .collect();
        let start = |host: &'static str, config: &str| {
            let mut config = config.to_owned();
            for ((other, port), own) in &ports {
                let here = format!("127.0.0.1:{own}");
                config = config.replace(&format!("{other}.example.com:{port}"), &here);
                if *other == host {
                    config = config.replace(&format!("0.0.0.0:{port}"), &here);
                }
            }
            NatsServer::builder().config(config).config(further).start()
        };
        let eu = try_join_all([start("eu-1", eu), start("eu-2", eu)]);
        let us = try_join_all([start("us-1", &us), start("us-2", &us)]);
        let (eu, us) = tokio::try_join!(eu, us)?;
        let regions = Self { eu, us };
        regions.are_connected(login).await;
        Ok(regions)
    }

    /// Waits until every server has its routes, and a gateway to the other region.
    async fn are_connected(&self, login: &str) {
        for server in self.eu.iter().chain(&self.us) {
            eventually(LIMIT, || async {
                let url = format!("nats://{login}127.0.0.1:{}", server.port());
                let nats = crate::places::connect(url).await;
                let info = nats.map_err(|error| error.to_string())?.server_info();
                match info.map_or(0, |info| info.connect_urls.len()) {
                    0 | 1 => Err("it is not connected to the other server of its region"),
                    _ => Ok(()),
                }
                .map_err(ToOwned::to_owned)?;
                let log = server.log().text();
                let is_out = log.contains("Outbound gateway connection");
                let is_in = log.contains("Inbound gateway connection");
                if is_out || is_in {
                    Ok(())
                } else {
                    Err("it is not connected to the other region".to_owned())
                }
            })
            .await;
        }
    }
}

/// A hub, and a server at the edge that is its leaf node.
#[derive(Debug)]
pub struct Edge {
    /// The server in the centre.
    pub hub: NatsServer,
    /// The server at the edge.
    pub edge: NatsServer,
    /// The link from the edge to the hub.
    pub link: Proxy,
}

impl Edge {
    /// Starts both servers, each with additional configuration. The leaf node logs in with `login`:
    /// `user:password@` or nothing.
    ///
    /// # Errors
    ///
    /// See [`NatsServer::start`].
    pub async fn start(hub: &str, edge: &str, login: &str) -> Result<Self, Failure> {
        let port = free_port()?;
        // The hub would announce its own address to leaf nodes, which would then bypass the proxy.
        let listen = format!("listen: \"127.0.0.1:{port}\", no_advertise: true");
        let config = block("of the hub:")?.replace("listen: \"0.0.0.0:7422\"", &listen);
        let hub = NatsServer::builder()
            .config(config)
            .config(hub)
            .start()
            .await?;
        let link = Proxy::start(port).await?;
        let here = format!("{login}127.0.0.1:{}", link.port());
        let config = block("at the edge:")?.replace("hub-1.example.com:7422", &here);
        let edge = NatsServer::builder()
            .config(config)
            .config(edge)
            .start()
            .await?;
        Ok(Self { hub, edge, link })
    }
}
