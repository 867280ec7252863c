//! What has to run for a work.

use std::fmt;

use clap::ValueEnum;

/// The processes of a case, and how they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) broker: Broker,
    /// Servers, each a process.
    pub(crate) instances: usize,
    /// Clients of the one process of clients, each with a connection.
    pub(crate) clients: usize,
    /// Client and server run on one thread each, and count allocations.
    pub(crate) counting: bool,
    pub(crate) listener: Listener,
    /// What there is many of, and how many.
    pub(crate) many: Option<(Many, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    NatsServer,
    Embedded,
}

/// Who takes what client and server tell of themselves, by `tracing` and `metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listener {
    /// Nobody
    #[default]
    Off,
    /// A registry that keeps spans of INFO and above, of which nothing is made
    Spans,
    /// The same, with a line of text a span, which nobody reads
    Lines,
    /// A recorder of metrics for Prometheus, and no subscriber
    Metrics,
}

/// What a process has many of where it is measured how costs grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Many {
    /// Services of a server, each under a subject of its own
    Services,
    /// Instances of one service in one process
    Instances,
    /// Methods of a service
    Methods,
    /// Clients with a session each
    Sessions,
}

impl Setup {
    /// One of each.
    pub(crate) const PLAIN: Self = Self {
        broker: Broker::NatsServer,
        instances: 1,
        clients: 1,
        counting: false,
        listener: Listener::Off,
        many: None,
    };

    /// What cases have in common that are measured in the same rounds, with the same broker: all but
    /// tracing, which is to be held against none.
    pub(crate) fn without_listener(self) -> Self {
        Self {
            listener: Listener::Off,
            ..self
        }
    }
}

/// The name, as on the command line.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// The name, as on the command line and in measures.
impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
