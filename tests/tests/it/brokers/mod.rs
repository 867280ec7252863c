//! The embedded broker, beside a real nats-server.

mod embedded;
