//! Reports: counts, categories, the form for programs, and comparisons of one service.

use nmfw_schema::Schema;
use nmfw_schema::compat::{Category, Report, Rule, Rules, UnknownRule, compare, compare_service};
use serde_json::json;

use crate::schema::{compile, files};

fn schema(text: &str) -> Schema {
    compile(&files(text)).unwrap()
}

fn lines(report: &Report) -> Vec<String> {
    report.to_string().lines().map(str::to_owned).collect()
}

/// The number of requests and the type of answers are changed, and a field is renamed.
const OLD: &str = "message Request { string text = 1; }
message Answer { int32 count = 1; Part part = 2; }
message Part { string name = 1; }
service Search { rpc Find(Request) returns (Answer); }
message Other { string name = 1; }
service Admin { rpc Do(Other) returns (Other); }";

const NEW: &str = "message Request { bytes text = 1; }
message Answer { int32 count = 1; Part part = 2; }
message Part { string label = 1; }
service Search { rpc Find(Request) returns (Answer); }
message Other { int32 name = 1; }
service Admin { rpc Do(Other) returns (Other); }";

#[test]
fn a_rename_breaks_json_only() {
    let (old, new) = (
        schema("message M { string a = 1; }"),
        schema("message M { string b = 1; }"),
    );
    let report = compare(&old, &new, Rules::default());
    assert!(report.is_compatible(Category::Wire));
    assert!(!report.is_compatible(Category::WireJson));
    assert!(report.is_compatible(Category::Service));
    assert_eq!(report.count(Category::Wire), 0);
    assert_eq!(report.count(Category::WireJson), 2);
    assert_eq!(report.count_of(Rule::FieldSameName), 1);
    assert_eq!(report.total(), 2);
    assert_eq!(report.omitted(), 0);
    assert!(!report.is_empty());
}

#[test]
fn rules_that_are_not_reported_still_count() {
    let (old, new) = (
        schema("message M { string a = 1; }"),
        schema("message M { int32 a = 1; }"),
    );
    let report = compare(&old, &new, Rules::of(&[Category::Service]));
    assert!(report.is_empty());
    assert!(!report.is_compatible(Category::Wire));
    assert!(!report.is_compatible(Category::WireJson));

    let without = Rules::default().without(Rule::FieldWireJsonCompatibleType);
    let report = compare(&old, &new, without);
    assert!(report.is_empty());
    assert!(report.is_compatible(Category::WireJson));
    assert_eq!(report.count_of(Rule::FieldWireJsonCompatibleType), 0);
    assert!(!report.is_compatible(Category::Wire));
}

#[test]
fn one_change_of_type_is_one_finding_of_each_category() {
    let (old, new) = (
        schema("message M { string a = 1; }"),
        schema("message M { int32 a = 1; }"),
    );
    for category in [Category::Wire, Category::WireJson] {
        assert_eq!(compare(&old, &new, Rules::of(&[category])).total(), 1);
    }
    assert_eq!(compare(&old, &new, Rules::all()).total(), 2);
}

#[test]
fn sentences_depend_on_the_side_of_the_call() {
    let report = compare(&schema(OLD), &schema(NEW), Rules::default());
    assert_eq!(
        lines(&report),
        [
            "a.proto:3:19: t.Request.text: its type changed from string to bytes: old clients send a \
             string where new services read bytes: JSON has bytes as base64, but a string as it is \
             [FIELD_WIRE_JSON_COMPATIBLE_TYPE]",
            "a.proto:5:16: t.Part.name: its name in JSON changed from `name` to `label`: old clients \
             miss `name` in JSON of new services [FIELD_SAME_JSON_NAME]",
            "a.proto:5:23: t.Part.name: the name of field 1 changed from `name` to `label`: old \
             clients miss `name` in JSON of new services, and field masks and text formats with \
             `name` do not match [FIELD_SAME_NAME]",
            "a.proto:7:17: t.Other.name: its type changed from string to int32: old clients send a \
             string where new services read an int32, and the reverse in answers: calls fail to \
             decode, or the value is lost [FIELD_WIRE_JSON_COMPATIBLE_TYPE]",
        ]
    );
}

#[test]
fn a_service_is_compared_with_the_types_it_reaches() {
    let (old, new) = (schema(OLD), schema(NEW));
    let elements = |service| -> Vec<String> {
        let report = compare_service(&old, &new, service, Rules::default()).unwrap();
        let findings = report.findings().iter();
        findings.map(|finding| finding.element.clone()).collect()
    };
    assert_eq!(
        elements("t.Search"),
        ["t.Request.text", "t.Part.name", "t.Part.name"]
    );
    assert_eq!(elements("t.Admin"), ["t.Other.name"]);
}

#[test]
fn a_live_schema_with_fewer_files_is_compared_with_a_tree() {
    let tree = "import \"b.proto\";\nmessage M { N n = 1; }\nservice S { rpc Do(M) returns (M); }
-- b.proto --
message N { E e = 1; }
enum E { A = 0; B = 1; }
-- c.proto --
syntax = \"proto3\";
package t.c;
message Unrelated { string a = 1; }
service Else { rpc Do(Unrelated) returns (Unrelated); }";
    let live = "import \"b.proto\";\nmessage M { N n = 1; }\nservice S { rpc Do(M) returns (M); }
-- b.proto --
message N { E e = 1; }
enum E { A = 0; C = 1; }";
    let (tree, live) = (schema(tree), schema(live));
    let report = compare_service(&tree, &live, "t.S", Rules::default()).unwrap();
    assert_eq!(
        lines(&report),
        [
            "b.proto:4:21: t.E: the name of 1 changed from `B` to `C`: new services refuse JSON of \
             old clients with `B`, and old clients miss it in JSON of new services \
             [ENUM_VALUE_SAME_NAME]"
        ]
    );
    let report = compare_service(&live, &tree, "t.S", Rules::default()).unwrap();
    assert_eq!(report.total(), 1);
    let report = compare(&tree, &live, Rules::default());
    assert_eq!(report.count_of(Rule::PackageServiceNoDelete), 1);
}

#[test]
fn types_that_only_extensions_reach_belong_to_a_service() {
    let text = |kind: &str| {
        format!(
            "proto2\nmessage M {{ extensions 100 to 200; }}\nextend M {{ optional N n = 100; }}
message N {{ optional {kind} a = 1; }}\nservice S {{ rpc Do(M) returns (M); }}"
        )
    };
    let (old, new) = (schema(&text("string")), schema(&text("int32")));
    let report = compare_service(&old, &new, "t.S", Rules::default()).unwrap();
    assert_eq!(report.findings()[0].element, "t.N.a");
}

#[test]
fn a_service_that_is_gone_is_found() {
    let report = compare_service(
        &schema(OLD),
        &schema("message M {}"),
        "t.Search",
        Rules::default(),
    );
    let report = report.unwrap();
    assert_eq!(
        lines(&report),
        [
            "a.proto:6:1: t.Search: the service was deleted: calls of old clients find no service \
             [PACKAGE_SERVICE_NO_DELETE]"
        ]
    );
    assert!(!report.is_compatible(Category::Service));
}

#[test]
fn the_package_of_a_service_counts_for_it() {
    let old =
        schema("message M {}\nservice S { rpc Do(M) returns (M); }\n-- b.proto --\nmessage N {}");
    let new = schema(
        "syntax = \"proto3\";\npackage u;\nmessage M {}\n-- b.proto --\nsyntax = \"proto3\";\npackage u;\nmessage N {}",
    );
    let report = compare_service(&old, &new, "t.S", Rules::default()).unwrap();
    let rules: Vec<_> = report
        .findings()
        .iter()
        .map(|finding| finding.rule)
        .collect();
    assert_eq!(rules, [Rule::FileSamePackage, Rule::PackageServiceNoDelete]);
}

#[test]
fn an_unknown_service_is_an_error_that_lists_the_known_ones() {
    let error = compare_service(&schema(OLD), &schema(NEW), "t.Serach", Rules::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the old schema has no service `t.Serach`; it has `t.Search` and `t.Admin`"
    );
    let none = schema("message M {}");
    let error = compare_service(&none, &none, "t.S\u{1b}[2J", Rules::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the old schema has no service `t.S\\u{1b}[2J`; it has none"
    );
}

#[test]
fn programs_read_the_report_as_json() {
    let (old, new) = (
        schema("message M { string a = 1; }"),
        schema("message M { int32 a = 1; }"),
    );
    let report = compare(&old, &new, Rules::default());
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({
            "compatible": {"WIRE": false, "WIRE_JSON": false, "SERVICE": true},
            "counts": {"FIELD_WIRE_JSON_COMPATIBLE_TYPE": 1},
            "findings": [{
                "rule": "FIELD_WIRE_JSON_COMPATIBLE_TYPE",
                "category": "WIRE_JSON",
                "element": "t.M.a",
                "change": "its type changed from string to int32",
                "effect": "data of the old schema has a string where the new schema reads an int32: \
                           it fails to decode, or the value is lost",
                "old": {"file": "a.proto", "line": 3, "column": 13},
                "new": {"file": "a.proto", "line": 3, "column": 13},
            }],
            "omitted": 0,
        })
    );
}

#[test]
fn without_source_locations_findings_name_the_file() {
    let strip = |text: &str| {
        use prost::Message as _;
        let schema = schema(text);
        let mut set = prost_types::FileDescriptorSet::decode(schema.descriptor_set()).unwrap();
        for file in &mut set.file {
            file.source_code_info = None;
        }
        Schema::from_descriptor_set(&set.encode_to_vec()).unwrap()
    };
    let (old, new) = (
        strip("message M { string a = 1; }"),
        strip("message M { int32 a = 1; }"),
    );
    let report = compare(&old, &new, Rules::default());
    assert!(lines(&report)[0].starts_with("a.proto: t.M.a: its type changed"));
}

#[test]
fn rules_are_read_by_their_names() {
    for rule in Rule::ALL {
        assert_eq!(rule.id().parse(), Ok(*rule));
        assert_eq!(rule.id().to_lowercase().parse(), Ok(*rule));
    }
    let error: UnknownRule = "FIELD_SAME_TYPE".parse::<Rule>().unwrap_err();
    assert!(error.to_string().starts_with(
        "no rule of compatibility is called `FIELD_SAME_TYPE`; the rules are ENUM_SAME_JSON_FORMAT, "
    ));
}
