//! Runs the targets without a fuzzer: see [`run`].

use crate::nats::session::protocol::fuzz::tests::run;

#[test]
fn requests_for_a_while() {
    run("request", crate::fuzzing::request);
}

#[test]
fn replies_for_a_while() {
    run("reply", crate::fuzzing::reply);
}

#[test]
fn traces_for_a_while() {
    run("trace", crate::fuzzing::trace);
}

#[test]
fn discovery_for_a_while() {
    run("discovery", crate::fuzzing::discovery);
}

#[test]
fn subjects_for_a_while() {
    run("subject", crate::fuzzing::subject);
}

#[test]
fn servers_for_a_while() {
    run("servers", crate::nats::connection::fuzz::servers);
}

#[test]
fn contexts_for_a_while() {
    run("context", crate::nats::connection::fuzz::context);
}
