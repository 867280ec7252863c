//! The ways to include generated code.

#![deny(warnings)]
#![allow(unreachable_pub, reason = "generated for libraries too")]
#![allow(
    unused_qualifications,
    reason = "the lint is off by default, and generated paths are absolute"
)]

/// All packages, of both calls of the build script.
mod all {
    // One of the packages is `nmfw.puppet`, which makes a module `nmfw` here.
    ::nmfw::include_protos!();
}

/// All packages at a root, where each package is a module.
mod calc {
    nmfw::include_proto!("calc");

    /// Inside a module that already has the macro's names.
    pub mod again {
        nmfw::include_proto!("calc");
    }
}

/// Nested by hand.
mod corners {
    pub mod shop {
        nmfw::include_proto!("corners.shop");
    }
    pub mod types {
        nmfw::include_proto!("corners.types");
    }
}

/// Named as in the `.proto`, and as the module.
mod acme {
    pub mod v1_beta {
        nmfw::include_proto!("Acme.V1Beta");
    }
    pub mod v1 {
        nmfw::include_proto!("acme.v1_beta");
    }
}

/// A name that a user's macro passes on.
macro_rules! protos {
    ($($module:ident = $name:tt;)*) => {
        $(mod $module {
            nmfw::include_proto!($name);
        })*
    };
}

protos! {
    puppet = "nmfw.puppet";
}

#[test]
fn all_packages_are_nested_modules() {
    let part = all::corners::types::Part::default();
    let board = all::acme::v1_beta::Board { parts: vec![part] };
    assert_eq!(board.parts.len(), 1);
    assert_eq!(all::calc::CALC_SPEC.full_name(), "calc.Calc");
    assert_eq!(
        all::nmfw::streams::STREAMS_SPEC.full_name(),
        "nmfw.streams.Streams"
    );
    assert_eq!(
        all::corners::shop::SHOP_SPEC.base_subject(),
        "nmfw.corners.shop"
    );
}

/// Methods that differ only in case: their Rust names differ, and their subjects are as in the
/// `.proto`.
#[test]
fn methods_may_differ_in_case_only() {
    use all::weird::r_type::v1::{Error, SYNC_SPEC, SyncClient};
    let _ = |client: SyncClient| {
        (
            client.request(Error::default()),
            client.request_(Error::default()),
            client.r#type(Error::default()),
            client.type_(Error::default()),
            client.new_(Error::default()),
            client.new__(Error::default()),
        )
    };
    let names: Vec<&str> = (7..13).map(|at| SYNC_SPEC.method(at).name()).collect();
    assert_eq!(names, ["Request", "request", "Type", "type", "New", "new_"]);
}

#[test]
fn one_package_can_be_included_alone_or_nested_by_hand() {
    let _ = (
        calc::AddRequest::default(),
        calc::again::AddRequest::default(),
    );
    assert_eq!(puppet::PUPPET_SPEC.full_name(), "nmfw.puppet.Puppet");
    let order = corners::shop::Order {
        parts: [(true, corners::types::Part::default())].into(),
        ..Default::default()
    };
    assert_eq!(order.parts.len(), 1);
    let board = acme::v1_beta::Board {
        parts: vec![corners::types::Part::default()],
    };
    let same = acme::v1::Board { parts: Vec::new() };
    assert_ne!(board.parts, same.parts);
}
