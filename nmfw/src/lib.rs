//! Microservices on NATS from a `.proto`.
