//! Tests of the reports for invalid `.proto` files, options and settings.

#![cfg(test)]

use std::error::Error as _;
use std::fs;

use nmfw_build::{Builder, Error, configure};

fn compile_with(builder: Builder, files: &[(&str, &str)]) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    let include = dir.path().join("proto");
    fs::create_dir(&include).unwrap();
    let mut protos = Vec::new();
    for (name, source) in files {
        let path = include.join(name);
        fs::write(&path, source).unwrap();
        protos.push(path);
    }
    builder
        .out_dir(dir.path().join("out"))
        .compile_protos(&protos, &[include])
}

fn report(files: &[(&str, &str)]) -> String {
    let error = compile_with(configure(), files).unwrap_err();
    format!("{error:?}")
}

/// Returns a file with a service `shop.Orders` with this body, in line 5.
fn orders(body: &str) -> String {
    format!(
        "syntax = \"proto3\";\npackage shop;\nimport \"nmfw/options.proto\";\nservice Orders {{\n{body}\n}}\nmessage M {{}}\nmessage N {{}}\n"
    )
}

fn assert_contains(report: &str, expected: &[&str]) {
    for part in expected {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
}

#[test]
fn options_of_a_service_are_checked() {
    for (options, expected) in [
        (
            "name: \"a b\"",
            "the name \"a b\" is not valid in discovery",
        ),
        ("name: \"\"", "the name \"\" is not valid in discovery"),
        (
            "name: \"a.b\"",
            "the name \"a.b\" is not valid in discovery",
        ),
        ("subject: \"\"", "the subject \"\" is empty"),
        (
            "subject: \"a b\"",
            "has white space or a control character in the token \"a b\"",
        ),
        (
            "subject: \"a.\\007b\"",
            "has white space or a control character",
        ),
        (
            "subject: \"a..b\"",
            "the subject \"a..b\" has an empty token",
        ),
        (
            "subject: \"a.*\"",
            "the subject \"a.*\" has a wildcard in the token `*`",
        ),
        (
            "subject: \"a.>\"",
            "the subject \"a.>\" has a wildcard in the token `>`",
        ),
        (
            "subject: \"a._b\"",
            "has the token `_b`: those that begin with `_` or `$` are reserved",
        ),
        ("subject: \"$SRV\"", "has the token `$SRV`"),
        (
            "version: \"1.2\"",
            "the version \"1.2\" is not a semantic version",
        ),
        (
            "version: \"\"",
            "the version \"\" is not a semantic version",
        ),
        (
            "timeout: { seconds: -1 }",
            "the timeout (seconds: -1, nanos: 0) is negative",
        ),
        (
            "timeout: { nanos: -5 }",
            "the timeout (seconds: 0, nanos: -5) is negative",
        ),
        ("timeout: {}", "the timeout (seconds: 0, nanos: 0) is zero"),
        (
            "timeout: { nanos: 999999 }",
            "is shorter than a millisecond",
        ),
        (
            "timeout: { seconds: 1 nanos: -1 }",
            "is not a valid google.protobuf.Duration",
        ),
        (
            "timeout: { nanos: 1000000000 }",
            "is not a valid google.protobuf.Duration",
        ),
        (
            "timeout: { seconds: 315576000001 }",
            "is not a valid google.protobuf.Duration",
        ),
        ("queue_group: \"\"", "the queue group \"\" is empty"),
        (
            "queue_group: \"a b\"",
            "the queue group \"a b\" has white space",
        ),
        (
            "queue_group: \"a.>\"",
            "the queue group \"a.>\" has a wildcard",
        ),
        (
            "queue_group: \"a..b\"",
            "the queue group \"a..b\" has an empty token",
        ),
        (
            "queue_group: \"a\" no_queue_group: true",
            "`no_queue_group` is set together with the queue group \"a\"",
        ),
        ("concurrency: 0", "a concurrency of 0"),
        (
            "metadata: { key: \"\" value: \"x\" }",
            "the metadata has an empty key",
        ),
        (
            "metadata: { key: \"nmfw.x\" value: \"x\" }",
            "the metadata key \"nmfw.x\" is reserved",
        ),
    ] {
        let source = orders(&format!("option (nmfw.service) = {{ {options} }};"));
        let report = report(&[("orders.proto", &source)]);
        assert_contains(
            &report,
            &[
                expected,
                "--> orders.proto:5:",
                "in service `shop.Orders`\n",
                "= help: ",
            ],
        );
        assert!(
            report.starts_with("1 problem in the .proto files"),
            "{report}"
        );
    }
}

#[test]
fn options_of_a_method_are_checked() {
    for (options, expected) in [
        ("timeout: { seconds: -1 }", "is negative"),
        (
            "queue_group: \" \"",
            "the queue group \" \" has white space",
        ),
        (
            "queue_group: \"a\" no_queue_group: true",
            "is set together with",
        ),
        ("concurrency: 0", "a concurrency of 0"),
        ("metadata: { key: \"nmfw.x\" value: \"x\" }", "is reserved"),
    ] {
        let source = orders(&format!(
            "rpc Place(M) returns (M) {{ option (nmfw.method) = {{ {options} }}; }}"
        ));
        let report = report(&[("orders.proto", &source)]);
        assert_contains(
            &report,
            &[
                expected,
                "--> orders.proto:5:",
                "in service `shop.Orders`, method `Place`\n",
            ],
        );
    }
}

#[test]
fn a_stream_needs_a_queue_group() {
    let own = "rpc A(stream M) returns (M) { option (nmfw.method).no_queue_group = true; }";
    let of_service = "option (nmfw.service).no_queue_group = true; rpc A(M) returns (stream M);";
    for body in [own, of_service] {
        assert_contains(
            &report(&[("orders.proto", &orders(body))]),
            &["the method `A` streams", "queue_group: \"q\""],
        );
    }
    let body = "option (nmfw.service).no_queue_group = true; \
                rpc A(M) returns (stream M) { option (nmfw.method).queue_group = \"w\"; }";
    compile_with(configure(), &[("orders.proto", &orders(body))]).unwrap();
}

#[test]
fn names_of_methods_are_checked() {
    let source = orders("rpc _Hidden(M) returns (M);");
    let report = report(&[(
        "orders.proto",
        &source.replace("import \"nmfw/options.proto\";", ""),
    )]);
    assert_contains(
        &report,
        &[
            "the method name `_Hidden` is reserved",
            "--> orders.proto:5:",
            "in service `shop.Orders`, method `_Hidden`\n",
        ],
    );
}

#[test]
fn names_of_services_are_checked() {
    for (source, expected, service) in [
        (
            "package a; service _B {}",
            "the subject \"nmfw.a._b\", derived from the package and the service, has the token \
             `_b`",
            "a._B",
        ),
        (
            "package _a; service B {}",
            "the subject \"nmfw._a.b\"",
            "_a.B",
        ),
        (
            "service __ {}",
            "the service name `__` cannot be converted to a Rust name",
            "__",
        ),
        (
            "package a; service A {} service a {}",
            "would both be `a` in discovery",
            "a.a",
        ),
    ] {
        let source = format!("syntax = \"proto3\"; {source}");
        let report = report(&[("a.proto", &source)]);
        assert_contains(
            &report,
            &[
                expected,
                "--> a.proto:1:",
                &format!("in service `{service}`\n"),
            ],
        );
    }
}

#[test]
fn chosen_names_of_services_are_checked() {
    let source = "syntax = \"proto3\"; package a; service B {} service C {} message BClient {}";
    let report = |path: &str, name: &str| {
        let builder = configure().rename_service(path, name);
        let error = compile_with(builder, &[("a.proto", source)]).unwrap_err();
        format!("{error:?}")
    };
    assert_contains(
        &report(".a.D", "E"),
        &["the service `.a.D`, which does not exist", "`.a.B`, `.a.C`"],
    );
    for bad in ["", "b", "Self", "B-C", "B::C"] {
        assert_contains(&report(".a.B", bad), &["cannot name the service `.a.B`"]);
    }
    assert_contains(
        &report(".a.C", "B"),
        &[
            "error: the service needs the Rust struct `BClient`, but `a.BClient` already has this \
             name",
            "--> a.proto:1:44",
            "in service `a.C`",
            "= help: choose another name for it: `rename_service(\".a.C\", \"...\")`",
        ],
    );
}

#[test]
fn a_package_and_nested_types_in_one_module_have_to_differ() {
    let outer =
        "syntax = \"proto3\"; package a; message B { oneof kind { int32 x = 1; } message C {} }";
    for (inner, expected) in [
        (
            "message Kind {}",
            "`a.b.Kind` and `a.B.kind` would both be `Kind`",
        ),
        ("enum C { X = 0; }", "`a.b.C` and `a.B.C` would both be `C`"),
    ] {
        let inner = format!("syntax = \"proto3\"; package a.b; {inner}");
        let report = report(&[("a.proto", outer), ("b.proto", &inner)]);
        assert_contains(&report, &[expected, "--> a.proto:1:"]);
    }
}

#[test]
fn an_include_file_cannot_be_called_like_a_package() {
    for (name, package) in [("a.b.rs", "a.b"), ("A.B.rs", "a.b"), ("_.rs", "")] {
        let statement = match package {
            "" => String::new(),
            package => format!("package {package};"),
        };
        let source = format!("syntax = \"proto3\"; {statement} message M {{}}");
        let builder = configure().include_file(name);
        let error = compile_with(builder, &[("a.proto", &source)]).unwrap_err();
        let expected =
            format!("the include file `{name}` would replace the code of the package `{package}`");
        assert_contains(&error.to_string(), &[&expected, "include_protos!()"]);
    }
}

#[test]
fn services_must_not_share_a_subject() {
    let other = "syntax = \"proto3\"; package other; import \"nmfw/options.proto\"; import \"orders.proto\";
        service Copy { option (nmfw.service).subject = \"nmfw.shop.orders\"; rpc Place(shop.M) returns (shop.M); rpc Other(shop.M) returns (shop.M); }";
    let source = orders("rpc Place(M) returns (M);").replace("import \"nmfw/options.proto\";", "");
    let report_of_methods = report(&[("orders.proto", &source), ("other.proto", other)]);
    assert_contains(
        &report_of_methods,
        &[
            "the subject \"nmfw.shop.orders.Place\" is also the subject of the method with this \
             name in `shop.Orders` (orders.proto)",
            "--> other.proto:2:",
            "in service `other.Copy`, method `Place`",
        ],
    );
    assert!(
        report_of_methods.starts_with("1 problem"),
        "{report_of_methods}"
    );

    let apart = other.replace("rpc Place", "rpc Else");
    let report_of_services = report(&[("orders.proto", &source), ("other.proto", &apart)]);
    assert_contains(
        &report_of_services,
        &[
            "the subject \"nmfw.shop.orders\" is also the subject of the service `shop.Orders` \
             (orders.proto)",
            "in service `other.Copy`\n",
        ],
    );
}

#[test]
fn services_must_not_share_a_name_in_discovery() {
    let source = "syntax = \"proto3\"; package a; import \"nmfw/options.proto\"; service B {} service C { option (nmfw.service).name = \"a-b\"; }";
    assert_contains(
        &report(&[("a.proto", source)]),
        &[
            "the services `a.B` (a.proto) and `a.C` would both be `a-b` in discovery",
            "in service `a.C`",
        ],
    );
}

#[test]
fn all_problems_are_reported_at_once_and_in_order() {
    let source = orders(
        "option (nmfw.service) = { version: \"x\" concurrency: 0 };\nrpc _A(stream M) returns (M);\nrpc B(M) returns (M) { option (nmfw.method).timeout = { seconds: -1 }; }",
    );
    let report = report(&[("orders.proto", &source)]);
    assert!(
        report.starts_with("4 problems in the .proto files\n"),
        "{report}"
    );
    let positions: Vec<usize> = ["version", "concurrency", "underscore", "negative"]
        .iter()
        .map(|word| report.find(word).unwrap())
        .collect();
    assert!(positions.is_sorted(), "{report}");
}

#[test]
fn a_report_has_place_service_and_help() {
    let source = orders("rpc Place(M) returns (M) { option (nmfw.method) = { concurrency: 0 }; }");
    assert_eq!(
        report(&[("orders.proto", &source)]),
        "1 problem in the .proto files

error: a concurrency of 0 would refuse all requests
  --> orders.proto:5:53
  = in service `shop.Orders`, method `Place`
  = help: use at least 1, or omit the option for the default
"
    );
}

#[test]
fn a_syntax_error_shows_file_line_and_caret() {
    let error = compile_with(
        configure(),
        &[("broken.proto", "syntax = \"proto3\";\n\nmesage Sum {}\n")],
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "the .proto files do not compile");
    assert!(error.source().is_some());
    assert_eq!(
        format!("{error:?}"),
        "the .proto files do not compile

error: expected 'enum', 'extend', 'import', 'message', 'option', 'service', 'package' or ';', but found 'mesage'
 --> broken.proto:3:1
  |
3 | mesage Sum {}
  | ^^^^^^ found here
"
    );
}

#[test]
fn errors_of_types_and_imports_show_their_place() {
    let missing_type = "syntax = \"proto3\";\nmessage A {\n  Missing field = 1;\n}\n";
    assert_contains(
        &report(&[("a.proto", missing_type)]),
        &[
            "'Missing'",
            "--> a.proto:3:3",
            "3 |   Missing field = 1;",
            "  |   ^^^^^^^ ",
        ],
    );
    let missing_import = "syntax = \"proto3\";\nimport \"nowhere.proto\";\n";
    assert_contains(
        &report(&[("a.proto", missing_import)]),
        &[
            "there is no file `nowhere.proto` to import",
            "--> a.proto:2:1",
            "2 | import \"nowhere.proto\";",
        ],
    );
}

#[test]
fn a_misspelt_option_lists_the_existing_ones() {
    for (body, expected) in [
        (
            "option (nmfw.service) = { timeuot: {} };",
            "= cause: field 'timeuot' not found for message 'nmfw.ServiceOptions'\n  = help: `nmfw.ServiceOptions` has `name`, `subject`, ",
        ),
        (
            "option (nmfw.service) = { timeout: { second: 1 } };",
            "= help: `google.protobuf.Duration` has `seconds`, `nanos`\n",
        ),
        (
            "option (nmfw.service) = { name: 5 };",
            "= cause: expected a string, but found '5'",
        ),
        (
            "option (nmfw.service).nmae = \"x\";",
            "= help: `nmfw.ServiceOptions` has `name`, ",
        ),
    ] {
        let report = report(&[("orders.proto", &orders(body))]);
        assert_contains(&report, &[expected, "--> orders.proto:5:"]);
    }
    let method = "rpc A(M) returns (M) {\n option (nmfw.method) = { name: \"x\" };\n }";
    assert_contains(
        &report(&[("orders.proto", &orders(method))]),
        &[
            "field 'name' not found",
            "`nmfw.MethodOptions` has",
            "--> orders.proto:6:",
        ],
    );
}

#[test]
fn an_option_is_reported_at_its_own_line() {
    for (body, expected) in [
        (
            "// A comment.\noption (nmfw.service) = {\n  name: \"orders\"\n  metadata: { key: \"version\" value: \"a\" }\n  version: \"x\"\n};",
            "9:3",
        ),
        (
            "option (nmfw.service).name = \"orders\";\n  option (nmfw.service).version = \"x\";",
            "6:3",
        ),
        ("option (nmfw.service).timeout.seconds = -1;", "5:1"),
        (
            "option (nmfw.service) = { timeout { seconds: -1 } };",
            "5:27",
        ),
        (
            "rpc A(M) returns (M) {\n  option deprecated = true;\n  option (nmfw.method) = {\n    concurrency: 0\n  };\n}",
            "8:5",
        ),
        (
            "rpc A(M) returns (M) {\n  option (nmfw.method).queue_group = \"a b\";\n}",
            "6:3",
        ),
    ] {
        let report = report(&[("orders.proto", &orders(body))]);
        let place = format!("--> orders.proto:{expected}\n");
        assert_contains(&report, &[&place]);
        assert!(report.starts_with("1 problem"), "{report}");
    }
    // A descriptor set has no source text, so the error points to the whole statement.
    let dir = tempfile::tempdir().unwrap();
    let body = "option (nmfw.service) = {\n  name: \"orders\"\n};";
    fs::write(dir.path().join("orders.proto"), orders(body)).unwrap();
    let set = dir.path().join("set.bin");
    configure()
        .out_dir(dir.path().join("out"))
        .file_descriptor_set_path(&set)
        .compile_protos(&["orders.proto"], &[dir.path()])
        .unwrap();
    let mut bytes = fs::read(set).unwrap();
    // A valid name is replaced by an invalid one of the same length.
    let at = bytes
        .windows(8)
        .position(|part| part == b"\x0a\x06orders")
        .unwrap();
    bytes[at + 4] = b' ';
    let error = configure()
        .out_dir(dir.path().join("out"))
        .compile_fds_bytes(&bytes)
        .unwrap_err();
    assert_contains(
        &format!("{error:?}"),
        &["the name \"or ers\" is not valid", "--> orders.proto:5:1\n"],
    );
}

#[test]
fn an_unknown_edition_is_one_clear_error() {
    let source = "// A comment.\nedition = \"2999\";\nmessage A { string a = 1; }\n";
    assert_eq!(
        report(&[("a.proto", source)]),
        "the .proto files do not compile

error: the edition 2999 is not supported
 --> a.proto:2:1
  |
2 | edition = \"2999\";
  | ^^^^^^^^^^^^^^^^^ found here
  = help: the editions 2023, 2024, 2026, proto2 and proto3 are supported
"
    );
}

#[test]
fn places_in_files_of_editions_are_those_of_the_author() {
    // The parser gets modified source, with labels and quotes and without an edition.
    for (line, expected) in [
        (
            "message A { string a = 1; Missing b = 2; }",
            [
                "2:27",
                "message A { string a = 1; Missing b = 2; }",
                "                          ^^^^^^^ found here",
            ],
        ),
        (
            "message A { reserved a, b; string c = ; }",
            [
                "2:39",
                "message A { reserved a, b; string c = ; }",
                "                                      ^ found here",
            ],
        ),
        (
            "message A { float a = 1 [default = -inf, packed = -inf]; }",
            [
                "2:42",
                "message A { float a = 1 [default = -inf, packed = -inf]; }",
                "^^^^^^^^^^^^^ found here",
            ],
        ),
    ] {
        let report = report(&[("a.proto", &format!("edition = \"2023\";\n{line}\n"))]);
        assert_contains(&report, &expected);
    }
}

#[test]
fn settings_are_checked() {
    let valid = [(
        "calc.proto",
        "syntax = \"proto3\"; package calc; service Calc {} message A { int32 a = 1; }",
    )];
    for (builder, expected) in [
        (
            configure().subject_prefix("a b"),
            "the subject prefix \"a b\" has white space",
        ),
        (
            configure().subject_prefix("a."),
            "the subject prefix \"a.\" has an empty token",
        ),
        (
            configure().service_version("one"),
            "the service version \"one\" is not a semantic version",
        ),
        (
            configure().runtime_path("nmfw"),
            "the runtime path `nmfw` is not absolute",
        ),
        (
            configure().runtime_path("a b"),
            "the runtime path `a b` is not absolute",
        ),
        (
            configure().type_attribute(".", "#[derive("),
            "the code of the package `calc` does not parse",
        ),
        (
            configure().extern_path("calc", "::calc"),
            "must be fully qualified",
        ),
    ] {
        let error = compile_with(builder, &valid).unwrap_err();
        assert_contains(&format!("{error:?}"), &[expected]);
    }
}

#[test]
fn names_are_not_too_long() {
    // `nmfw.shop.orders.` and the method: 1024 bytes are accepted, one more is not.
    let fits = "M".repeat(1024 - "nmfw.shop.orders.".len());
    let rpc = |name: &str| orders(&format!("rpc {name}(M) returns (M);"));
    let fine = compile_with(configure(), &[("orders.proto", &rpc(&fits))]);
    assert!(fine.is_ok(), "{fine:?}");
    assert_contains(
        &report(&[("orders.proto", &rpc(&format!("{fits}M")))]),
        &[
            "has 1025 bytes, and at most 1024 are allowed",
            "--> orders.proto:5:1",
            "in service `shop.Orders`, method `MMM",
            "= help: shorten the names",
        ],
    );
    let option = |field: &str, length: usize| {
        let value = "a".repeat(length);
        let body = format!("option (nmfw.service) = {{ {field}: \"{value}\" }};");
        compile_with(configure(), &[("orders.proto", &orders(&body))])
    };
    assert!(option("name", 128).is_ok() && option("subject", 1024).is_ok());
    for (field, length, expected) in [
        ("name", 129, "in discovery has 129 bytes, and at most 128"),
        (
            "subject",
            1025,
            "the subject of the service `Orders` has 1025 bytes",
        ),
        ("queue_group", 1025, "is longer than 1024 bytes"),
    ] {
        let error = option(field, length).unwrap_err();
        assert_contains(
            &format!("{error:?}"),
            &[expected, "--> orders.proto:", "in service `shop.Orders`"],
        );
    }
}

#[test]
fn values_of_an_enum_have_to_differ_in_rust() {
    for (values, expected) in [
        (
            "FOO_BAR = 0;\n FooBar = 1;",
            "the values `FOO_BAR` and `FooBar` of `a.E` would both be `FooBar` in Rust",
        ),
        (
            "E_A = 0;\n A = 1;",
            "the values `E_A` and `A` of `a.E` would both be `A` in Rust",
        ),
        (
            "E_A = 5;\n E_a = -1;",
            "the values `E_A` and `E_a` of `a.E` would both be `A` in Rust",
        ),
    ] {
        // Proto2: the first value need not be zero.
        let source = format!("syntax = \"proto2\"; package a; enum E {{ {values} }}");
        assert_contains(
            &report(&[("a.proto", &source)]),
            &[expected, "--> a.proto:2:2", "= help: rename one of them"],
        );
    }
    let alias = "enum E { option allow_alias = true; E_A = 0; A = 0; E_B = 1; }";
    let kept = "enum E { E_A = 0; A = 1; }";
    let keep = configure().strip_enum_prefix(false);
    for (builder, source) in [(configure(), alias), (keep, kept)] {
        let source = format!("syntax = \"proto3\"; package a; {source}");
        let fine = compile_with(builder, &[("a.proto", &source)]);
        assert!(fine.is_ok(), "{fine:?}");
    }
}

#[test]
fn extern_paths_that_would_change_are_refused() {
    let source = "syntax = \"proto3\"; package a; message A { message B {} B b = 1; } message C {}";
    let compile = |proto: &str, rust: &str| {
        compile_with(configure().extern_path(proto, rust), &[("a.proto", source)])
    };
    for (proto, rust, changed) in [
        (".a", "crate::main_::a", "`main` for `main_`"),
        (".a", "crate::API", "`api` for `API`"),
        (".a", "super::a", "`super_` for `super`"),
        (".a", "crate::r#gen", "`r_gen` for `r#gen`"),
        (".", "::Types", "`types` for `Types`"),
        (".a.A", "crate::main_::A", "`main` for `main_`"),
    ] {
        let error = compile(proto, rust).unwrap_err();
        let expected = format!("the extern path `{rust}` of `{proto}` cannot be used: ");
        assert_contains(&format!("{error:?}"), &[&expected, changed]);
    }
    for (proto, rust) in [
        (".a", "::types_1::a"),
        (".a", "crate::gen"),
        (".a.A", "crate::types::A"),
        // Nothing is below it, and the path of a type is not changed.
        (".a.C", "super::main_::C"),
        (".b", "crate::main_::b"),
    ] {
        let fine = compile(proto, rust);
        assert!(fine.is_ok(), "{proto} {rust}: {fine:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let imported = "\u{feff}syntax = \"proto3\"; package b; message B {}";
    let source = "\u{feff}syntax = \"proto3\"; import \"b.proto\"; message A { b.B b = 1; }";
    let fine = compile_with(configure(), &[("a.proto", source), ("b.proto", imported)]);
    assert!(fine.is_ok(), "{fine:?}");
    // The mark occupies no column.
    assert_contains(
        &report(&[("a.proto", "\u{feff}mesage A {}")]),
        &["--> a.proto:1:1", "1 | mesage A {}"],
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let proto = dir.path().join("a.proto");
    fs::write(&proto, "syntax = \"proto3\"; message A {}").unwrap();
    let error = configure()
        .out_dir(proto.join("out"))
        .compile_protos(&[&proto], &[dir.path()])
        .unwrap_err();
    assert_contains(&error.to_string(), &["cannot create `", "a.proto/out`"]);
    assert!(error.source().is_some());
}

#[test]
fn errors_are_send_and_sync() {
    fn check<T: std::error::Error + Send + Sync + 'static>() {}
    check::<Error>();
}

#[test]
fn messages_and_fields_have_to_differ_in_rust() {
    for (source, expected) in [
        (
            "message Foo {} message foo {}",
            "`a.Foo` and `a.foo` would both be `Foo` in Rust",
        ),
        (
            "message Foo {} enum FOO { X = 0; }",
            "`a.FOO` and `a.Foo` would both be `Foo` in Rust",
        ),
        (
            "message M { message N {} message n {} }",
            "`a.M.N` and `a.M.n` would both be `N` in Rust",
        ),
        (
            "message M { oneof get_http { int32 x = 1; } oneof GetHTTP { int32 y = 2; } }",
            "`a.M.get_http` and `a.M.GetHTTP` would both be `GetHttp` in Rust",
        ),
    ] {
        let source = format!("syntax = \"proto3\"; package a; {source}");
        let report = report(&[("a.proto", &source)]);
        assert_contains(
            &report,
            &[expected, "--> a.proto:1:", "= help: rename one of them"],
        );
        assert!(!report.contains("in service"), "{report}");
    }
    // Optional fields are oneofs on the wire, and map entries are messages: neither conflicts with
    // anything.
    let fine = "syntax = \"proto3\"; package a; message M { optional int32 x = 1; map<string, int32> y = 2; }";
    let fine = compile_with(configure(), &[("a.proto", fine)]);
    assert!(fine.is_ok(), "{fine:?}");
}
