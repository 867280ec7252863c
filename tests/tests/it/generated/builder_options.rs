//! The code that `nmfw-build` generates with each of its settings, compiled in a crate that depends
//! on `nmfw` and not on prost.

#![deny(missing_docs)]
#![deny(warnings)]
#![allow(unreachable_pub, reason = "generated for libraries too")]
#![allow(
    unused_qualifications,
    reason = "the lint is off by default, and generated paths are absolute"
)]

use std::collections::{BTreeMap, HashMap};

use nmfw::{Context, Status};

macro_rules! generated {
    ($($name:ident)*) => {
        $(mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), "/protos.rs"));
        })*
    };
}

// `messages_only` is unused, as in a program that does not use all its messages.
generated! {
    plain btree_map one_btree_map bytes attributes extern_path client_only server_only messages_only named runtime_path
}

/// A program may re-export the runtime anywhere.
mod rpc {
    pub(crate) use ::nmfw;
}

/// An order with a value in each field, and at most one entry a map, because a `HashMap` has no
/// order.
macro_rules! order {
    ($name:ident) => {{
        use $name::corners::{
            shop::{Order, order},
            types::{Color, Part},
        };
        let part = Part {
            name: "bolt".into(),
            data: vec![1, 2].into(),
        };
        #[allow(deprecated)]
        Order {
            counts: [("a".to_owned(), 1)].into(),
            states: [("b".to_owned(), order::State::Open.into())].into(),
            parts: [(true, part)].into(),
            blobs: [(7, vec![3].into())].into(),
            color: Color::Red.into(),
            state: Some(order::State::Open.into()),
            history: vec![0, 1, 99],
            r#type: Some("t".to_owned()),
            raw: vec![4, 5].into(),
            old: "o".to_owned(),
            result: Some(order::Result {
                r#type: [(3, Order::default())].into(),
            }),
            colors: [("c".to_owned(), 42)].into(),
            self_: Some(order::Self_::Other(order::State::Open.into())),
        }
    }};
}

#[test]
fn messages_print_alike_whatever_their_maps_are() {
    let expected = format!("{:#?}", order!(plain));
    assert!(
        expected.contains("r#type:") && expected.contains("Open"),
        "{expected}"
    );
    assert_eq!(format!("{:#?}", order!(btree_map)), expected);
    assert_eq!(format!("{:#?}", order!(one_btree_map)), expected);
    assert_eq!(format!("{:#?}", order!(runtime_path)), expected);
    // `Bytes` are printed as text.
    assert!(format!("{:?}", order!(bytes)).contains(r#"raw: b"\x04\x05""#));
}

#[test]
fn maps_and_bytes_have_the_chosen_types() {
    let _: BTreeMap<String, i64> = order!(btree_map).counts;
    let _: HashMap<String, i64> = order!(one_btree_map).counts;
    let _: BTreeMap<String, i32> = order!(one_btree_map).states;
    let raw = order!(bytes).raw;
    assert!(raw.clone().as_ptr() == raw.as_ptr(), "shared");
}

#[test]
fn attributes_are_on_their_types() {
    let order = order!(attributes);
    assert!(order.parts[&true] >= attributes::corners::types::Part::default());
    let json = serde_json::to_value(&order).unwrap_or_default();
    assert_eq!(json["counts"]["a"], 1);
    assert_eq!(json["raw"], serde_json::Value::Null);
}

#[test]
fn types_from_elsewhere_are_used() {
    let order = extern_path::corners::shop::Order {
        parts: [(true, plain::corners::types::Part::default())].into(),
        ..Default::default()
    };
    assert!(format!("{order:?}").contains("Part"));
}

#[test]
fn the_spec_has_the_settings() {
    let spec = &named::corners::shop::SHOP_SPEC;
    assert_eq!(spec.base_subject(), "acme.eu.corners.shop");
    let code = include_str!(concat!(env!("OUT_DIR"), "/named/corners.shop.rs"));
    assert!(code.contains(".with_version(\"7.8.9\")"), "{code}");
    let default = &client_only::corners::shop::SHOP_SPEC;
    assert_eq!(default.base_subject(), "nmfw.corners.shop");
}

struct Handler;

macro_rules! handler {
    ($($name:ident)*) => {
        $(impl $name::corners::shop::Shop for Handler {
            async fn place(
                &self,
                _ctx: Context,
                request: $name::corners::shop::Order,
            ) -> Result<$name::corners::shop::Order, Status> {
                Ok(request)
            }
        })*
    };
}

handler! { btree_map bytes server_only runtime_path }

#[tokio::test]
async fn services_take_these_messages() -> Result<(), Status> {
    let client = btree_map::corners::shop::ShopClient::local(Handler);
    assert_eq!(client.place(order!(btree_map)).await?, order!(btree_map));
    let client = bytes::corners::shop::ShopClient::local(Handler);
    assert_eq!(client.place(order!(bytes)).await?, order!(bytes));
    let client = runtime_path::corners::shop::ShopClient::local(Handler);
    assert_eq!(
        client.place(order!(runtime_path)).await?,
        order!(runtime_path)
    );
    let _ = server_only::corners::shop::ShopServer::new(Handler);
    Ok(())
}
