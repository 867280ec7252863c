//! One test, two brokers: the embedded one and a real nats-server.

use std::fmt::{self, Debug};
use std::time::Duration;

use nmfw::embedded::Broker;
use tokio::time::timeout;

use crate::embedded;
use crate::failure::Failure;
use crate::server::NatsServer;
use crate::server_log::ServerLog;

/// The time limit of a test of [`on_both_brokers!`](crate::on_both_brokers).
pub const TEST_LIMIT: Duration = Duration::from_secs(60);

/// The kinds of brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `nmfw::embedded::Broker`, in the test's own process.
    Embedded,
    /// The `nats-server` program.
    NatsServer,
}

impl Kind {
    /// Both kinds, for a test that first needs a step that takes longer than the test's limit, such
    /// as the installation of a foreign tool. Other tests use
    /// [`on_both_brokers!`](crate::on_both_brokers).
    pub const BOTH: [Self; 2] = [Self::Embedded, Self::NatsServer];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded broker",
            Self::NatsServer => "nats-server",
        })
    }
}

/// The options of both brokers; for others, a test starts its own [`NatsServer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// The largest message in bytes; 1 MiB by default.
    pub max_payload: Option<usize>,
}

/// A broker of either kind, stopped when dropped.
#[derive(Debug)]
pub struct TestBroker {
    kind: Kind,
    options: Options,
    port: u16,
    state: State,
}

#[derive(Debug)]
enum State {
    Embedded(Broker),
    NatsServer(NatsServer),
    Stopped,
}

impl TestBroker {
    /// Starts a broker of this kind.
    ///
    /// # Errors
    ///
    /// Fails if it could not start, with the reason.
    pub async fn start(kind: Kind, options: Options) -> Result<Self, Failure> {
        let (port, state) = match kind {
            Kind::Embedded => {
                let broker = embedded::start(options.port, options.max_payload).await?;
                (broker.port(), State::Embedded(broker))
            }
            Kind::NatsServer => {
                let mut builder = NatsServer::builder();
                if let Some(port) = options.port {
                    builder = builder.port(port);
                }
                if let Some(bytes) = options.max_payload {
                    builder = builder.max_payload(bytes);
                }
                let server = builder.start().await?;
                (server.port(), State::NatsServer(server))
            }
        };
        Ok(Self {
            kind,
            options,
            port,
            state,
        })
    }

    /// Starts another broker of the same kind.
    ///
    /// # Errors
    ///
    /// See [`start`](Self::start).
    pub async fn another(&self, options: Options) -> Result<Self, Failure> {
        Self::start(self.kind, options).await
    }

    /// Returns the kind of the broker, for the rare test that depends on it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns `nats://127.0.0.1:<port>`, which does not change when the broker is stopped and
    /// started.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the port, which does not change when the broker is stopped and started.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections and frees the port; does nothing if the broker is stopped.
    ///
    /// # Errors
    ///
    /// Fails if the server process could not be killed.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        match &mut self.state {
            // Kept for its log, because the test may still fail.
            State::NatsServer(server) => return server.kill(),
            State::Embedded(_) | State::Stopped => {}
        }
        if let State::Embedded(broker) = std::mem::replace(&mut self.state, State::Stopped) {
            broker.shutdown().await;
        }
        Ok(())
    }

    /// Stops the broker if it runs, and starts it on the same port.
    ///
    /// # Errors
    ///
    /// See [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.stop().await?;
        if let State::NatsServer(server) = &mut self.state {
            return server.restart().await;
        }
        let broker = embedded::start(Some(self.port), self.options.max_payload).await?;
        self.state = State::Embedded(broker);
        Ok(())
    }

    /// Returns the nats-server, if the broker is one.
    pub fn nats_server(&mut self) -> Option<&mut NatsServer> {
        match &mut self.state {
            State::NatsServer(server) => Some(server),
            State::Embedded(_) | State::Stopped => None,
        }
    }

    fn log(&self) -> Option<ServerLog> {
        match &self.state {
            State::NatsServer(server) => Some(server.log().clone()),
            State::Embedded(_) | State::Stopped => None,
        }
    }
}

/// The return types of a test's body: nothing, or a `Result`.
pub trait Outcome {
    /// Returns the error as text.
    ///
    /// # Errors
    ///
    /// Returns the error of the body.
    fn outcome(self) -> Result<(), String>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Debug> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), String> {
        self.map_err(|e| format!("{e:?}"))
    }
}

/// Runs the body of a test with a new broker. Used by [`on_both_brokers!`](crate::on_both_brokers).
///
/// # Panics
///
/// Panics with the test's name if the broker does not start, the body fails, or `limit` passes. The
/// server's log is printed then.
pub async fn run<F, Fut>(name: &str, kind: Kind, limit: Duration, body: F)
where
    F: FnOnce(TestBroker) -> Fut,
    Fut: Future<Output: Outcome>,
{
    let broker = match TestBroker::start(kind, Options::default()).await {
        Ok(broker) => broker,
        Err(failure) => panic!("{name}: start the {kind}: {failure}"),
    };
    // The log outlives the broker, which the body owns. A panic inside the body prints it by
    // itself.
    let log = broker.log();
    let failure = match timeout(limit, body(broker)).await.map(Outcome::outcome) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => format!("the test did not end within {limit:?}"),
    };
    if let Some(log) = log {
        log.print();
    }
    panic!("{name} on the {kind}: {failure}");
}

/// Turns each `async fn` into a module of its name with two tests, `embedded` and `nats_server`,
/// each of which runs the body with a new broker, for at most [`TEST_LIMIT`].
///
/// ```
/// use nmfw_tests::{TestBroker, on_both_brokers};
///
/// on_both_brokers! {
///     /// A client gets in.
///     async fn connects(broker: TestBroker) {
///         async_nats::connect(broker.url()).await.unwrap();
///     }
///
///     async fn fails_with_a_question_mark(broker: TestBroker) -> Result<(), async_nats::Error> {
///         async_nats::connect(broker.url()).await?;
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! on_both_brokers {
    ($(
        $(#[$meta:meta])*
        async fn $name:ident($($broker:ident)+ : $broker_type:ty) $(-> $outcome:ty)? $body:block
    )+) => { $(
        $(#[$meta])*
        #[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing from outside")]
            use super::*;

            #[allow(dead_code, reason = "used where tests are built")]
            async fn body($($broker)+: $broker_type) $(-> $outcome)? $body

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                let name = stringify!($name);
                let limit = $crate::broker::TEST_LIMIT;
                $crate::broker::run(name, $crate::broker::Kind::Embedded, limit, body).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn nats_server() {
                let name = stringify!($name);
                let limit = $crate::broker::TEST_LIMIT;
                $crate::broker::run(name, $crate::broker::Kind::NatsServer, limit, body).await;
            }
        }
    )+ };
}
