//! The golden files of `nmfw-build`, compiled as in a user's crate with the strictest lints, and
//! called.
//!
//! `cargo clippy -- -D warnings` checks this file as well.

#![deny(missing_docs, unreachable_pub)]
#![forbid(unsafe_code)]
#![deny(warnings, clippy::all, unused)]
// Generated code may be unused in part, in a crate that has only a server or only a client.
#![deny(dead_code)]
#![allow(unreachable_pub, reason = "generated for libraries too")]

use std::time::Duration;

use nmfw::prost::Message as _;
use nmfw::{Context, Idempotency, Status};

macro_rules! golden {
    ($($(#[$meta:meta])* $name:ident = $file:literal;)*) => {
        $(
            $(#[$meta])*
            mod $name {
                include!(concat!("../../../../nmfw-build/tests/golden/", $file, ".rs"));
            }
        )*
    };
}

golden! {
    packages = "protos";
    no_package = "_";
    comments = "comments";
    deprecated = "deprecated";
    empty = "empty";
    keywords = "type.async";
    legacy = "legacy";
    lints = "lints";
    names = "names";
    streaming = "streaming";
    taken = "taken";
    well_known = "well_known";
    configured = "acme.configured";
}

#[allow(
    unused_qualifications,
    reason = "the lint is off by default, and paths between packages go through all modules"
)]
mod nested {
    /// The package `mesh`.
    pub mod mesh {
        include!("../../../../nmfw-build/tests/golden/mesh.rs");
    }
}

struct Handler;

impl keywords::Self_ for Handler {
    async fn r#type(&self, _ctx: Context, request: keywords::Fn) -> Result<keywords::Fn, Status> {
        Ok(request)
    }
    async fn self_(&self, _ctx: Context, request: keywords::Fn) -> Result<keywords::Fn, Status> {
        Ok(request)
    }
    async fn super_(&self, _ctx: Context, request: keywords::Fn) -> Result<keywords::Fn, Status> {
        Ok(request)
    }
    async fn r#gen(&self, _ctx: Context, request: keywords::Fn) -> Result<keywords::Fn, Status> {
        Ok(request)
    }
    async fn r#await(&self, _ctx: Context, request: keywords::Fn) -> Result<keywords::Fn, Status> {
        Ok(request)
    }
}

#[tokio::test]
async fn keywords_can_be_called() {
    let client = keywords::SelfClient::local(Handler);
    let request = keywords::Fn {
        r#type: "type".to_owned(),
        ..keywords::Fn::default()
    };
    assert_eq!(client.r#await(request.clone()).await.unwrap(), request);
    assert_eq!(client.self_(request.clone()).await.unwrap(), request);
}

impl taken::Names for Handler {
    async fn new_(&self, _: Context, request: taken::Result) -> Result<taken::Option, Status> {
        request
            .option
            .ok_or_else(|| Status::invalid_argument("none"))
    }
    async fn local_(&self, _: Context, _: taken::Future) -> Result<taken::Send, Status> {
        Ok(taken::Send {})
    }
    async fn wait_ready_(&self, _: Context, _: taken::Vec) -> Result<taken::String, Status> {
        Ok(taken::String {})
    }
    async fn clone_(&self, _: Context, _: taken::Status) -> Result<taken::Context, Status> {
        Ok(taken::Context {})
    }
    async fn into_(&self, _: Context, _: taken::Box) -> Result<taken::Ok, Status> {
        Ok(taken::Ok {})
    }
    async fn unary(&self, _: Context, _: taken::Sync) -> Result<taken::Some, Status> {
        Ok(taken::Some {})
    }
    async fn from_arc(&self, _: Context, _: taken::Debug) -> Result<taken::Arc, Status> {
        Ok(taken::Arc {})
    }
    async fn cmp(&self, _: Context, _: taken::Nmfw) -> Result<taken::Core, Status> {
        Ok(taken::Core {})
    }
    async fn drop(&self, _: Context, _: taken::Std) -> Result<taken::T, Status> {
        Ok(taken::T::default())
    }
}

#[tokio::test]
async fn methods_with_taken_names_can_be_called() {
    let client = taken::NamesClient::local(Handler).clone();
    client.wait_ready(Duration::ZERO).await.unwrap();
    client.wait_ready_(taken::Vec {}).await.unwrap();
    let request = taken::Result {
        option: Some(taken::Option::default()),
    };
    client.new_(request).await.unwrap();
    client.cmp(taken::Nmfw {}).await.unwrap();
    client.drop(taken::Std {}).await.unwrap();
}

#[test]
fn accessors_of_prost_do_not_conflict() {
    let mut message = names::Accessors {
        set_state_: Some(7),
        push_modes_: Some(names::State::Off.into()),
        get_kinds_: Some(vec![1]),
        ..names::Accessors::default()
    };
    message.set_state(names::State::Off);
    message.push_modes(names::State::Off);
    message.insert_kinds("a".to_owned(), names::State::Off);
    message.insert_type_(1, names::State::Off);
    assert_eq!(
        (message.state(), message.set_state_()),
        (names::State::Off, 7)
    );
    assert_eq!(message.modes().collect::<Vec<_>>(), [message.push_modes_()]);
    assert_eq!(message.get_kinds("a"), message.get_type_(1));
    assert_eq!(message.get_kinds_(), [1]);
}

#[test]
fn fields_and_variants_that_differ_in_case_are_kept_apart() {
    let message = names::Case {
        get_http: Some(1),
        get_http_: Some(names::State::Off.into()),
        get_http__: Some(names::case::GetHttp::FooBar_(2)),
    };
    let bytes = message.encode_to_vec();
    assert_eq!(names::Case::decode(bytes.as_slice()).unwrap(), message);
}

#[test]
fn a_message_may_contain_itself_through_a_group() {
    let group = names::Group {
        inner: Some(Box::new(names::group::Inner {
            outer: Some(names::Group::default()),
        })),
        ..names::Group::default()
    };
    let bytes = group.encode_to_vec();
    assert_eq!(names::Group::decode(bytes.as_slice()).unwrap(), group);
}

impl names::Agent_ for Handler {
    async fn meet(&self, _: Context, _: names::Agent) -> Result<names::AgentServer, Status> {
        Ok(names::AgentServer {})
    }
}

#[tokio::test]
async fn a_service_may_be_called_like_messages() {
    let client = names::AgentClient_::local(Handler);
    let _: names::AgentServer = client.meet(names::Agent::default()).await.unwrap();
    assert_eq!(names::AGENT_SPEC.full_name(), "names.Agent_");
    assert_eq!(names::AGENT_SPEC_.full_name(), "names.Agent__");
}

impl nested::mesh::cluster::Endpoint_ for Handler {
    async fn get(
        &self,
        _: Context,
        request: nested::mesh::cluster::Filter,
    ) -> Result<nested::mesh::cluster::Filter, Status> {
        Ok(request)
    }
}

#[tokio::test]
async fn nested_types_and_a_package_share_a_module() {
    use nested::mesh::{Cluster, Zone, cluster, zone};
    let filter = cluster::Filter::default();
    let client = cluster::EndpointClient::local(Handler);
    let cluster = Cluster {
        endpoint: Some(cluster::Endpoint::default()),
        filter: Some(client.get(filter).await.unwrap()),
    };
    let place = zone::Place::default();
    let shard = zone::zone::Shard { place: Some(place) };
    let zone = Zone {
        kind: Some(zone::Kind::Shard(shard)),
    };
    assert_eq!(cluster.filter, Some(cluster::Filter::default()));
    assert_eq!(Zone::decode(zone.encode_to_vec().as_slice()).unwrap(), zone);
}

#[test]
fn options_reach_the_spec() {
    let service = &configured::EVERYTHING_SPEC;
    assert_eq!(service.discovery_name(), "acme_everything");
    assert_eq!(service.base_subject(), "acme.all-of-it");
    assert_eq!(service.full_name(), "acme.configured.Everything");
    let (plain, method) = (service.method(0), service.method(1));
    assert_eq!(plain.timeout(), Some(Duration::from_millis(2500)));
    assert_eq!(plain.idempotency(), Idempotency::Unknown);
    // Rounded up to whole milliseconds.
    assert_eq!(method.timeout(), Some(Duration::from_millis(2)));
    assert_eq!(method.idempotency(), Idempotency::Idempotent);
    assert!(method.is_deprecated() && !plain.is_deprecated());
}

#[test]
fn packages_import_each_other() {
    use packages::acme::{billing::v1, common};
    let spec = &v1::INVOICES_SPEC;
    assert_eq!(spec.base_subject(), "nmfw.acme.billing.v1.invoices");
    assert_eq!(spec.discovery_name(), "acme-billing-v1-invoices");
    let _ = common::Money::default();
}

#[test]
fn messages_can_be_details_of_a_status() {
    let detail = keywords::Fn {
        self_: "here".to_owned(),
        ..keywords::Fn::default()
    };
    let status = Status::internal("x").with_detail(&detail);
    let url = &status.details()[0].type_url;
    assert_eq!(url, "type.googleapis.com/type.async.Fn");
    assert_eq!(status.detail::<keywords::Fn>(), Some(detail));
    assert_eq!(status.detail::<taken::Result>(), None);
}
