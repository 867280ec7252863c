//! Compares generated code with the files in `tests/golden`, and measures it.
//!
//! `NMFW_BLESS=1 cargo test -p nmfw-build --test golden` writes the files anew; look at what changed before committing.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The protos of `tests/proto` and the files their packages become.
const FIXTURES: &[(&[&str], &[&str])] = &[
    (&["calc.proto"], &["calc"]),
    (&["keywords.proto"], &["type.async"]),
    (&["taken.proto"], &["taken"]),
    (&["no_package.proto"], &["_"]),
    (&["empty.proto"], &["empty"]),
    (&["deprecated.proto"], &["deprecated"]),
    (&["legacy.proto"], &["legacy"]),
    (&["configured.proto"], &["acme.configured"]),
    (&["comments.proto"], &["comments"]),
    (&["well_known.proto"], &["well_known"]),
    (&["lints.proto"], &["lints"]),
    (&["streaming.proto"], &["streaming"]),
    (&["names.proto"], &["names"]),
    (
        &["mesh/mesh.proto"],
        &["mesh", "mesh.cluster", "mesh.zone", "mesh.zone.zone"],
    ),
    (
        &[
            "acme/billing/v1/invoices.proto",
            "acme/billing/v1/refunds.proto",
            "calc.proto",
        ],
        &["acme.billing.v1", "acme.common", "calc", "protos"],
    ),
];

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn builder() -> nmfw_build::Builder {
    nmfw_build::configure()
        .service_version("0.1.0")
        .include_file("protos.rs")
}

fn generate(protos: &[&str], builder: nmfw_build::Builder) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let include = tests_dir().join("proto");
    let protos: Vec<PathBuf> = protos.iter().map(|name| include.join(name)).collect();
    builder
        .out_dir(dir.path())
        .compile_protos(&protos, &[&include])
        .unwrap();
    let files = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn generated_code_is_as_recorded() {
    let bless = std::env::var_os("NMFW_BLESS").is_some();
    let mut stale = Vec::new();
    for (protos, files) in FIXTURES {
        let mut generated = generate(protos, builder());
        for file in *files {
            let code = generated
                .remove(*file)
                .unwrap_or_else(|| panic!("{protos:?} made no {file}.rs"));
            let path = tests_dir().join(format!("golden/{file}.rs"));
            let recorded = fs::read_to_string(&path).unwrap_or_default();
            if bless {
                fs::write(path, code).unwrap();
            } else if recorded != code {
                let line = recorded
                    .lines()
                    .zip(code.lines())
                    .position(|(old, new)| old != new);
                let line =
                    line.unwrap_or_else(|| recorded.lines().count().min(code.lines().count()));
                stale.push(format!(
                    "{} differs at line {}:\n  recorded:  {}\n  generated: {}",
                    path.display(),
                    line + 1,
                    recorded.lines().nth(line).unwrap_or("(end)"),
                    code.lines().nth(line).unwrap_or("(end)"),
                ));
            }
        }
        generated.remove("protos");
        assert!(
            generated.is_empty(),
            "{protos:?} also made {:?}",
            generated.keys()
        );
    }
    assert!(
        stale.is_empty(),
        "{}\nIf this is what you want, run with NMFW_BLESS=1 and review the difference.",
        stale.join("\n")
    );
}

#[test]
fn a_client_or_a_server_alone() {
    let client = generate(&["calc.proto"], builder().build_server(false))
        .remove("calc")
        .unwrap();
    assert!(client.contains("pub struct CalcClient") && client.contains("pub trait Calc"));
    assert!(!client.contains("CalcServer") && !client.contains("fn local"));

    let server = generate(&["calc.proto"], builder().build_client(false))
        .remove("calc")
        .unwrap();
    assert!(server.contains("pub struct CalcServer") && server.contains("pub trait Calc"));
    assert!(!server.contains("CalcClient") && !server.contains("forward!"));

    let neither = generate(
        &["calc.proto"],
        builder().build_client(false).build_server(false),
    );
    assert!(!neither["calc"].contains("Calc:") && neither["calc"].contains("struct AddRequest"));
}

#[test]
fn the_runtime_may_be_elsewhere() {
    for package in ["calc", "streaming"] {
        let proto = format!("{package}.proto");
        let code = generate(&[&proto], builder().runtime_path("crate::rpc::nmfw"))
            .remove(package)
            .unwrap();
        let paths = code.matches("crate::rpc::nmfw::").count();
        assert!(paths > 0 && code.matches("::nmfw::").count() == paths);
        syn::parse_file(&code).unwrap();
    }
}

#[test]
fn messages_from_elsewhere_are_not_generated() {
    let builder = builder()
        .extern_path(".acme.billing", "::acme_billing")
        .extern_path(".acme.common", "::common");
    let files = generate(&["acme/billing/v1/invoices.proto"], builder);
    let code = &files["acme.billing.v1"];
    assert!(
        !code.contains("struct Invoice ") && !files.contains_key("acme.common"),
        "{files:?}"
    );
    // The service of the file that was asked for is there, that of the file it imports is not.
    assert!(
        code.contains("request: ::acme_billing::v1::GetRequest"),
        "{code}"
    );
    assert!(code.contains("get(::acme_billing::v1::GetRequest) -> (::acme_billing::v1::Invoice);"));
    assert!(!code.contains("trait Refunds"), "{code}");
}

#[test]
fn the_prefix_of_subjects_can_be_chosen() {
    let acme = generate(&["calc.proto"], builder().subject_prefix("acme.eu"))
        .remove("calc")
        .unwrap();
    assert!(acme.contains(".subject(\"acme.eu.calc\")") && acme.contains(".name(\"calc\")"));
    let bare = generate(&["calc.proto"], builder().subject_prefix(""))
        .remove("calc")
        .unwrap();
    assert!(bare.contains(".subject(\"calc\")"));
}

/// A service with this many methods, and names that are not short.
fn service_with(methods: usize, requests: &str, responses: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let rpcs: String = (0..methods)
        .map(|n| {
            format!(
                "rpc CollectOutstanding{n}({requests} OutstandingRequest) returns ({responses} OutstandingResponse);\n"
            )
        })
        .collect();
    let proto = dir.path().join("budget.proto");
    let source = format!(
        "syntax = \"proto3\"; package budget.of_lines.v1;
        message OutstandingRequest {{}} message OutstandingResponse {{}}
        service CollectionOfThings {{ {rpcs} }}"
    );
    fs::write(&proto, source).unwrap();
    builder()
        .out_dir(dir.path())
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap();
    fs::read_to_string(dir.path().join("budget.of_lines.v1.rs")).unwrap()
}

/// Lines of the code of services: everything from the first static on, without comments and blank lines.
fn service_lines(code: &str) -> usize {
    let start = code.find("/// Static facts").unwrap();
    let code = code[start..].lines().map(str::trim);
    code.filter(|line| !line.starts_with("//") && !line.is_empty())
        .count()
}

#[test]
fn a_method_costs_twelve_lines_and_a_service_forty() {
    for (requests, responses) in [
        ("", ""),
        ("", "stream"),
        ("stream", ""),
        ("stream", "stream"),
    ] {
        let kind = format!("({requests}) returns ({responses})");
        let [two, seven] =
            [2, 7].map(|methods| service_lines(&service_with(methods, requests, responses)));
        // Trait, server, client and forwarding. On top there is its line in the facts, a constant.
        let method = (seven - two) / 5 - 1;
        assert!(method <= 12, "a method {kind} costs {method} lines");
        let service = two - 2 * (method + 1);
        assert!(
            service <= 40,
            "a service costs {service} lines without its methods {kind}"
        );
    }
    let empty = service_lines(&service_with(0, "", ""));
    assert!(empty <= 40, "a service without methods costs {empty} lines");
}
