//! The targets without a fuzzer: see [`run`].

use crate::session::fuzz::tests::run;

#[test]
fn requests_for_a_while() {
    run("request", super::request);
}

#[test]
fn replies_for_a_while() {
    run("reply", super::reply);
}

#[test]
fn traces_for_a_while() {
    run("trace", super::trace);
}

#[test]
fn discovery_for_a_while() {
    run("discovery", super::discovery);
}

#[test]
fn subjects_for_a_while() {
    run("subject", super::subject);
}

#[test]
fn servers_for_a_while() {
    run("servers", super::servers);
}

#[test]
fn contexts_for_a_while() {
    run("context", super::context);
}
