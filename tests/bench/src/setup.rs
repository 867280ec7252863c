//! The processes of a work.

use std::fmt;

use clap::ValueEnum;

/// The processes of a case, and how they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) broker: Broker,
    /// Number of servers, each in a separate process.
    pub(crate) instances: usize,
    /// Number of clients in the client process, each with a connection.
    pub(crate) clients: usize,
    /// Whether client and server run on one thread each, and count allocations.
    pub(crate) counting: bool,
    pub(crate) listener: Listener,
    /// The kind of items that there are many of, and their number.
    pub(crate) many: Option<(Many, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    NatsServer,
    Embedded,
}

/// The receiver of the traces and metrics of client and server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listener {
    /// No receiver
    #[default]
    Off,
    /// A registry that enables spans of INFO and above, and discards them
    Spans,
    /// A registry that enables spans of INFO and above, and discards a line of text per span
    Lines,
    /// A recorder of metrics for Prometheus, and no subscriber
    Metrics,
}

/// The kind of items that a process has many of when growth is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Many {
    /// Services of a server, each under a separate subject
    Services,
    /// Instances of one service in one process
    Instances,
    /// Methods of a service
    Methods,
    /// Clients with a session each
    Sessions,
}

impl Setup {
    /// The minimal setup.
    pub(crate) const PLAIN: Self = Self {
        broker: Broker::NatsServer,
        instances: 1,
        clients: 1,
        counting: false,
        listener: Listener::Off,
        many: None,
    };

    /// Returns the common setup of cases in the same rounds with the same broker: everything except
    /// tracing, which is compared with none.
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
