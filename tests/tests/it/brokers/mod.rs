//! The embedded broker, compared with a real nats-server.

mod embedded;
