//! The golden files of `nmfw-build`, compiled as a user's crate would with the strictest lints, and
//! called.
//!
//! `cargo clippy -- -D warnings` sees this file as well.

#![forbid(missing_docs, unsafe_code)]
#![deny(warnings, clippy::all, unused)]
// What generated code may be used without, in a crate that has only a server or only a client.
#![deny(dead_code)]
#![allow(unreachable_pub, reason = "generated for libraries too")]

use std::time::Duration;

use nmfw::{Context, Idempotency, Status};

macro_rules! golden {
    ($($(#[$meta:meta])* $name:ident = $file:literal;)*) => {
        $(
            $(#[$meta])*
            mod $name {
                include!(concat!("../../nmfw-build/tests/golden/", $file, ".rs"));
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
    streaming = "streaming";
    taken = "taken";
    well_known = "well_known";
    configured = "acme.configured";
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
async fn names_that_are_taken_can_be_called() {
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
