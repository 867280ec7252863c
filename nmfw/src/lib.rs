//! Microservices on NATS from a `.proto`.

mod connection;
mod error;

pub use connection::{
    ConnectOptions, Connection, ConnectionEvent, ConnectionState, ConnectionStatus, IntoServers,
    connect, connect_context, connect_env,
};
pub use error::{Error, ErrorKind};
