//! Generates NATS microservices from `.proto` files.
