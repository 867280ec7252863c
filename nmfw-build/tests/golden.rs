//! Compares generated code with the files in `tests/golden`, and measures it.
//!
//! `NMFW_BLESS=1 cargo test -p nmfw-build --test golden` rewrites the files; review the difference
//! before committing.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

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
        // Compressed, and so not readable; `tests/schema.rs` covers it.
        .embed_schema(false)
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

/// Returns the code without its layout, which depends on the formatter.
fn squeezed(code: &str) -> String {
    let code: String = code.split_whitespace().collect();
    code.replace(",)", ")").replace(",>", ">")
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
                .unwrap_or_else(|| panic!("{protos:?} did not generate {file}.rs"));
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
            "{protos:?} also generated {:?}",
            generated.keys()
        );
    }
    assert!(
        stale.is_empty(),
        "{}\nIf the change is intended, run with NMFW_BLESS=1 and review the difference.",
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
    assert!(!server.contains("CalcClient"));

    let neither = generate(
        &["calc.proto"],
        builder().build_client(false).build_server(false),
    );
    assert!(!neither["calc"].contains("Calc:") && neither["calc"].contains("struct AddRequest"));
}

#[test]
fn generated_code_names_only_the_versioned_part_of_the_runtime() {
    const SEAM: &str = "::nmfw::codegen::v1::";
    let mut paths = 0;
    for file in fs::read_dir(tests_dir().join("golden")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        for (at, _) in code.match_indices("::nmfw") {
            paths += 1;
            let line = code[..at].lines().count();
            assert!(code[at..].starts_with(SEAM), "{}:{line}", path.display());
        }
        assert!(!code.contains("use nmfw"), "{}", path.display());
    }
    assert!(paths > 500, "only {paths} paths");
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
    // The service of the compiled file is generated, that of the imported file is not.
    assert!(
        code.contains("request: ::acme_billing::v1::GetRequest"),
        "{code}"
    );
    let call = "get(&self, request: ::acme_billing::v1::GetRequest) -> ::nmfw::codegen::v1::Call<::acme_billing::v1::Invoice>";
    assert!(squeezed(code).contains(&squeezed(call)), "{code}");
    assert!(!code.contains("trait Refunds"), "{code}");
}

#[test]
fn the_prefix_of_subjects_can_be_chosen() {
    let acme = generate(&["calc.proto"], builder().subject_prefix("acme.eu"))
        .remove("calc")
        .unwrap();
    assert!(
        acme.contains(".with_subject(\"acme.eu.calc\")") && acme.contains(".with_name(\"calc\")")
    );
    let bare = generate(&["calc.proto"], builder().subject_prefix(""))
        .remove("calc")
        .unwrap();
    assert!(bare.contains(".with_subject(\"calc\")"));
}

/// Returns a service with this many methods, and names of typical length.
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

/// Returns the number of tokens in the code of services, from the first static on.
fn service_tokens(code: &str) -> usize {
    fn count(code: TokenStream) -> usize {
        code.into_iter()
            .map(|token| match token {
                TokenTree::Group(group) => 2 + count(group.stream()),
                _ => 1,
            })
            .sum()
    }
    let start = code.find("/// The description of the service").unwrap();
    count(code[start..].parse().unwrap())
}

#[test]
fn the_code_of_a_service_is_small() {
    for (requests, responses) in [
        ("", ""),
        ("", "stream"),
        ("stream", ""),
        ("stream", "stream"),
    ] {
        let kind = format!("({requests}) returns ({responses})");
        let [two, seven] =
            [2, 7].map(|methods| service_tokens(&service_with(methods, requests, responses)));
        // Spec, trait, two constants, server, client and the client's trait.
        let method = (seven - two) / 5;
        assert!(method <= 420, "a method {kind} takes {method} tokens");
        let service = two - 2 * method;
        assert!(
            service <= 640,
            "a service without its methods takes {service} tokens {kind}"
        );
    }
}
