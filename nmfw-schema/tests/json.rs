//! The JSON mapping, case by case. protobuf's own cases are in `conformance.rs`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use nmfw_schema::Schema;
use nmfw_schema::json::{self, JsonOptions};
use nmfw_schema::prost_reflect::MessageDescriptor;
use nmfw_schema::prost_reflect::prost::Message;
use proptest::prelude::*;

fn kinds() -> MessageDescriptor {
    let schema = Schema::compile(["kinds.proto"], ["tests/json"]).unwrap();
    schema.message("kinds.Kinds").unwrap()
}

/// Reads a document, and writes it again.
fn round_trip(document: &str, options: &JsonOptions) -> Result<String, String> {
    let desc = kinds();
    let encoded =
        json::to_message(&desc, document.as_bytes(), options).map_err(|e| e.to_string())?;
    let document =
        json::from_message(&desc, encoded.as_slice(), options).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(document).unwrap())
}

#[test]
fn documents_are_read_and_written() {
    let cases = [
        ("{}", "{}"),
        (r#"{"aDouble": 0}"#, "{}"),
        (r#"{"a_double": "1.5"}"#, r#"{"aDouble":1.5}"#),
        (
            r#"{"aDouble": "NaN", "aFloat": "-Infinity"}"#,
            r#"{"aDouble":"NaN","aFloat":"-Infinity"}"#,
        ),
        (r#"{"anInt32": 1e3}"#, r#"{"anInt32":1000}"#),
        (
            r#"{"anInt32": "-2147483648"}"#,
            r#"{"anInt32":-2147483648}"#,
        ),
        (
            r#"{"anInt64": 9223372036854775807.0}"#,
            r#"{"anInt64":"9223372036854775807"}"#,
        ),
        (
            r#"{"anInt64": 9007199254740993}"#,
            r#"{"anInt64":"9007199254740993"}"#,
        ),
        (
            r#"{"aUint64": "18446744073709551615"}"#,
            r#"{"aUint64":"18446744073709551615"}"#,
        ),
        (
            r#"{"aString": "\ud83d\ude00\u0000"}"#,
            r#"{"aString":"😀\u0000"}"#,
        ),
        (r#"{"someBytes": "-_8"}"#, r#"{"someBytes":"+/8="}"#),
        (r#"{"color": 1}"#, r#"{"color":"RED"}"#),
        (r#"{"color": 7}"#, r#"{"color":7}"#),
        (
            r#"{"colors": ["RED", -1]}"#,
            r#"{"colors":["RED","NEGATIVE"]}"#,
        ),
        (
            r#"{"item": {}, "items": [{}, {"name": "x"}]}"#,
            r#"{"item":{},"items":[{},{"name":"x"}]}"#,
        ),
        (
            r#"{"item": null, "items": null, "byName": null, "maybe": null}"#,
            "{}",
        ),
        (
            r#"{"byNumber": {"2": "b", "-1": "a"}}"#,
            r#"{"byNumber":{"-1":"a","2":"b"}}"#,
        ),
        (r#"{"byBool": {"true": 1}}"#, r#"{"byBool":{"true":1}}"#),
        (r#"{"right": 0, "left": null}"#, r#"{"right":0}"#),
        (r#"{"maybe": 0}"#, r#"{"maybe":0}"#),
        (r#"{"any": {}}"#, r#"{"any":{}}"#),
        (
            r#"{"any": {"name": "x", "@type": "t/kinds.Kinds.Item", "price": 2}}"#,
            r#"{"any":{"@type":"t/kinds.Kinds.Item","name":"x","price":2.0}}"#,
        ),
        (
            r#"{"any": {"value": "1.5s", "@type": "t/google.protobuf.Duration"}}"#,
            r#"{"any":{"@type":"t/google.protobuf.Duration","value":"1.500s"}}"#,
        ),
        (
            r#"{"at": "2026-01-31T12:00:00.5+01:00"}"#,
            r#"{"at":"2026-01-31T11:00:00.500Z"}"#,
        ),
        (
            r#"{"at": "0001-01-01T00:00:00Z"}"#,
            r#"{"at":"0001-01-01T00:00:00Z"}"#,
        ),
        (
            r#"{"at": "9999-12-31T23:59:59.999999999Z"}"#,
            r#"{"at":"9999-12-31T23:59:59.999999999Z"}"#,
        ),
        (r#"{"takes": "-0.000001s"}"#, r#"{"takes":"-0.000001s"}"#),
        (
            r#"{"takes": "315576000000s"}"#,
            r#"{"takes":"315576000000s"}"#,
        ),
        (
            r#"{"mask": "a,fooBar.bazQux"}"#,
            r#"{"mask":"a,fooBar.bazQux"}"#,
        ),
        (r#"{"value": null}"#, r#"{"value":null}"#),
        (
            r#"{"value": [1, {"a": [null, true, "x"]}]}"#,
            r#"{"value":[1.0,{"a":[null,true,"x"]}]}"#,
        ),
        (
            r#"{"object": {"a": {"b": []}}, "list": [{}]}"#,
            r#"{"object":{"a":{"b":[]}},"list":[{}]}"#,
        ),
        (r#"{"wrapped": 0}"#, r#"{"wrapped":"0"}"#),
        (r#"{"wrapped": null}"#, "{}"),
        (r#"{"other-name": "x"}"#, r#"{"other-name":"x"}"#),
        (r#"{"renamed": "x"}"#, r#"{"other-name":"x"}"#),
        ("  {\n\t} \r\n", "{}"),
    ];
    for (document, expected) in cases {
        assert_eq!(
            round_trip(document, &JsonOptions::new()).as_deref(),
            Ok(expected),
            "{document}"
        );
    }
}

#[test]
fn errors_name_the_path_and_the_fault() {
    let cases = [
        (
            r#"{"items": [{}, {"price": "x"}]}"#,
            r#"items[1].price: expected a number, but found the string "x""#,
        ),
        (
            r#"{"byName": {"a b": {"price": []}}}"#,
            r#"byName["a b"].price: expected a number, but found a list"#,
        ),
        (
            r#"{"items": {}}"#,
            "items: expected a list, but found an object",
        ),
        (
            r#"{"items": [null]}"#,
            "items[0]: expected an object, but found null",
        ),
        (
            r#"{"item": 1}"#,
            "item: expected an object, but found a number",
        ),
        (
            r#"{"anInt32": 1.5}"#,
            "anInt32: expected an integer, but found the number 1.5",
        ),
        (
            r#"{"anInt32": 2147483648}"#,
            "anInt32: 2147483648 is out of range for a signed 32-bit integer",
        ),
        (
            r#"{"aUint64": -1}"#,
            "aUint64: -1 is out of range for an unsigned 64-bit integer",
        ),
        (
            r#"{"anInt64": 1e99999999999}"#,
            "anInt64: 1e99999999999 is out of range for a signed 64-bit integer",
        ),
        (
            r#"{"aFloat": 1e39}"#,
            "aFloat: 1e39 is out of range for a float",
        ),
        (
            r#"{"aDouble": 1e999}"#,
            "aDouble: 1e999 is out of range for a double",
        ),
        (
            r#"{"aDouble": "inf"}"#,
            r#"aDouble: expected a number, but found the string "inf""#,
        ),
        (
            r#"{"aBool": "true"}"#,
            r#"aBool: expected true or false, but found the string "true""#,
        ),
        (
            r#"{"aString": 1}"#,
            "aString: expected a string, but found the number 1",
        ),
        (
            r#"{"aString": "\ud800"}"#,
            "aString: the string is not valid Unicode",
        ),
        (
            r#"{"someBytes": "!"}"#,
            r#"someBytes: expected a string in base64, but found "!""#,
        ),
        (
            r#"{"color": "BLUE"}"#,
            "color: `kinds.Kinds.Color` has no value \"BLUE\": it has NEGATIVE, COLOR_UNSPECIFIED, RED",
        ),
        (
            r#"{"item": {"nme": 1}}"#,
            "item.nme: `kinds.Kinds.Item` has no such field: it has `name`, `price`",
        ),
        (
            r#"{"item": {"Name": 1}}"#,
            "item.Name: `kinds.Kinds.Item` has no such field: did you mean `name`?",
        ),
        (
            r#"{"aBool": true, "a_bool": true}"#,
            "a_bool: the field is given twice",
        ),
        (
            r#"{"byNumber": {"1": "a", "1": "b"}}"#,
            r#"byNumber["1"]: the key is given twice"#,
        ),
        (
            r#"{"byNumber": {"x": "a"}}"#,
            r#"byNumber["x"]: expected a key that is an integer"#,
        ),
        (
            r#"{"left": "", "right": 1}"#,
            "right: `left` is given as well, but only one field of the oneof `choice` can be",
        ),
        (
            r#"{"any": {"@type": "t/no.Such"}}"#,
            "any.@type: the type `no.Such` of the `Any` is not in the schema",
        ),
        (
            r#"{"any": {"@type": "kinds.Kinds"}}"#,
            "any.@type: expected a type such as \"type.googleapis.com/package.Message\", but found \"kinds.Kinds\"",
        ),
        (
            r#"{"any": {"name": 1}}"#,
            "any: the member \"@type\", which names the type of the `Any`, is missing",
        ),
        (
            r#"{"any": {"items": [1], "@type": "t/kinds.Kinds"}}"#,
            "any.items[0]: expected an object, but found a number",
        ),
        (
            r#"{"at": "2026-01-31 12:00"}"#,
            "at: expected a time such as \"2026-01-31T12:00:00Z\", but found \"2026-01-31 12:00\"",
        ),
        (
            r#"{"takes": "1"}"#,
            "takes: expected a duration such as \"1.5s\", but found \"1\"",
        ),
        (
            r#"{"takes": "315576000001s"}"#,
            "takes: the duration \"315576000001s\" is out of range: up to 315576000000 s are possible",
        ),
        (
            r#"{"mask": "foo_bar"}"#,
            "mask: expected a path in camel case, but found \"foo_bar\"",
        ),
        ("[]", "expected an object, but found a list"),
        ("null", "expected an object, but found null"),
        ("", "the document is empty: expected an object"),
        (
            "{} x",
            "the document is not valid JSON: trailing characters at line 1 column 4",
        ),
        (
            "{\"a\n",
            "the document is not valid JSON: control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
        (
            "{\"aBool\": tru}",
            "the document is not valid JSON: expected ident at line 1 column 14",
        ),
    ];
    for (document, expected) in cases {
        assert_eq!(
            round_trip(document, &JsonOptions::new()),
            Err(expected.to_owned()),
            "{document}"
        );
    }
}

#[test]
fn options_change_the_form() {
    let document = r#"{"anInt64":"1","color":"RED","unknown":{"a":[1]},"colors":["NEW","RED"]}"#;
    let lenient = JsonOptions::new().ignore_unknown_fields(true);
    assert_eq!(
        round_trip(document, &lenient).unwrap(),
        r#"{"anInt64":"1","color":"RED","colors":["RED"]}"#
    );
    assert_eq!(
        round_trip(
            document,
            &lenient.clone().int64_as_number(true).enum_numbers(true)
        )
        .unwrap(),
        r#"{"anInt64":1,"color":1,"colors":[1]}"#
    );
    assert_eq!(
        round_trip(
            r#"{"anInt32":1}"#,
            &JsonOptions::new().proto_field_names(true).pretty(true)
        )
        .unwrap(),
        "{\n  \"an_int32\": 1\n}"
    );
    let shown = round_trip(r#"{"item":{}}"#, &JsonOptions::new().default_values(true)).unwrap();
    assert!(
        shown.starts_with(r#"{"aDouble":0.0,"aFloat":0.0,"anInt32":0,"#),
        "{shown}"
    );
    assert!(
        shown.contains(r#""item":{"name":"","price":0.0},"items":[],"byName":{}"#),
        "{shown}"
    );
    assert!(
        !shown.contains("maybe") && !shown.contains("left"),
        "{shown}"
    );
}

/// Runs in a thread with a small stack, in which endless recursion ends at once.
fn with_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

#[test]
fn depth_is_limited() {
    with_small_stack(|| {
        let nested = |open: &str, close: &str, times: usize| {
            format!("{}{{}}{}", open.repeat(times), close.repeat(times))
        };
        let options = JsonOptions::new();
        let desc = kinds();
        let deepest = nested(r#"{"nested":"#, "}", 100);
        let encoded = json::to_message(&desc, deepest.as_bytes(), &options).unwrap();
        let again = json::from_message(&desc, encoded.as_slice(), &options).unwrap();
        assert_eq!(again, deepest.as_bytes());

        for times in [101, 126, 100_000] {
            for (open, close) in [
                (r#"{"nested":"#, "}"),
                (r#"{"any":{"@type":"t/kinds.Kinds","nested":"#, "}}"),
                (r#"{"value":["#, "]}"),
                (r#"{"object":{"a":"#, "}}"),
                (r#"{"any":{"nested":"#, r#","@type":"t/kinds.Kinds"}}"#),
            ] {
                let document = nested(open, close, times);
                let read = json::to_message(&desc, document.as_bytes(), &options);
                assert!(read.is_err(), "{times} times {open}");
            }
            let lists = format!(r#"{{"value":{}{}}}"#, "[".repeat(times), "]".repeat(times));
            assert!(json::to_message(&desc, lists.as_bytes(), &options).is_err());
        }
    });
}

#[test]
fn any_in_any_cannot_exhaust_the_stack() {
    use nmfw_schema::prost_reflect::prost_types::Any;
    with_small_stack(|| {
        let mut any = Any::default();
        for _ in 0..2_000 {
            any = Any {
                type_url: "t/google.protobuf.Any".to_owned(),
                value: any.encode_to_vec(),
            };
        }
        let schema = Schema::compile(["kinds.proto"], ["tests/json"]).unwrap();
        let desc = schema.message("google.protobuf.Any").unwrap();
        let error = json::from_message(&desc, any.encode_to_vec().as_slice(), &JsonOptions::new());
        assert_eq!(
            error.unwrap_err().reason(),
            "messages are nested more than 100 levels deep"
        );
    });
}

#[test]
fn documents_are_limited_in_size() {
    let options = JsonOptions::new().max_bytes(20);
    assert_eq!(
        round_trip(r#"{"aString":"0123456789"}"#, &options).unwrap_err(),
        "the document has 24 bytes, more than the 20 that are accepted"
    );
    assert_eq!(
        round_trip(r#"{"item":{}}"#, &options.default_values(true)).unwrap_err(),
        "the document has more than the 20 bytes that are accepted"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn messages_survive_json(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let desc = DESC.with(MessageDescriptor::clone);
        // Encoded and decoded, because lists can be set without elements.
        let encoded = support::message(&desc, &mut support::Entropy(&bytes), 0).encode_to_vec();
        let message = nmfw_schema::decode(&desc, encoded.as_slice()).unwrap();
        for options in [
            JsonOptions::new(),
            JsonOptions::new().pretty(true).proto_field_names(true).enum_numbers(true),
            JsonOptions::new().int64_as_number(true).default_values(true),
        ] {
            let document = json::from_dynamic(&message, &options).unwrap();
            let again = json::to_dynamic(&desc, &document, &options).unwrap();
            let document_again = json::from_dynamic(&again, &options).unwrap();
            // Text, because a message with NaN does not equal itself.
            prop_assert_eq!(
                String::from_utf8_lossy(&document),
                String::from_utf8_lossy(&document_again)
            );
            prop_assert_eq!(format!("{message}").len(), format!("{again}").len());
        }
    }

    #[test]
    fn any_document_is_read_or_refused(document in document()) {
        let desc = DESC.with(MessageDescriptor::clone);
        for options in [JsonOptions::new(), JsonOptions::new().ignore_unknown_fields(true)] {
            if let Ok(encoded) = json::to_message(&desc, document.as_bytes(), &options) {
                let again = json::from_message(&desc, encoded.as_slice(), &options);
                prop_assert!(again.is_ok(), "{document}: {again:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_written_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let desc = DESC.with(MessageDescriptor::clone);
        let options = JsonOptions::new().default_values(true);
        if let Ok(document) = json::from_message(&desc, bytes.as_slice(), &options) {
            let again = json::to_message(&desc, &document, &options);
            prop_assert!(again.is_ok(), "{again:?}");
        }
    }
}

thread_local! {
    static DESC: MessageDescriptor = kinds();
}

/// Generates documents that are nearly right: made of the names and values that matter.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "1",
        "-1",
        "1.5",
        "1e400",
        "0",
        "-0.0",
        "99999999999999999999",
        "true",
        "null",
        "\"\"",
        "\"x\"",
        "\"RED\"",
        "\"NaN\"",
        "\"1.5s\"",
        "\"2026-01-31T12:00:00Z\"",
        "\"AAAA\"",
        "\"t/kinds.Kinds\"",
        "\"t/google.protobuf.Value\"",
        "\"t/google.protobuf.Any\"",
        "\"\\ud800\"",
        "tru",
        "",
        "{",
        "]",
    ])
    .prop_map(str::to_owned);
    let name = prop::sample::select(vec![
        "aDouble",
        "an_int32",
        "anInt64",
        "aString",
        "someBytes",
        "color",
        "item",
        "items",
        "byName",
        "byNumber",
        "byBool",
        "left",
        "right",
        "any",
        "@type",
        "value",
        "at",
        "takes",
        "mask",
        "object",
        "list",
        "wrapped",
        "nested",
        "colors",
        "nothing",
        "name",
        "price",
        "1",
        "true",
        "unknown",
    ]);
    scalar.prop_recursive(6, 40, 5, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..5);
        prop_oneof![
            members.prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\": {value}"))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }),
            prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
        ]
    })
}
