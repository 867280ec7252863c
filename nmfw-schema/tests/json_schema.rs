//! JSON Schema: a golden file, and documents of random messages, which all fit.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use nmfw_schema::json::{self, JsonOptions};
use nmfw_schema::prost_reflect::MessageDescriptor;
use nmfw_schema::{Schema, json_schema};
use proptest::prelude::*;
use serde_json::Value;

fn kinds() -> MessageDescriptor {
    let schema = Schema::compile(["kinds.proto"], ["tests/json"]).unwrap();
    schema.message("kinds.Kinds").unwrap()
}

fn validator(desc: &MessageDescriptor) -> Validator {
    let schema: Value = serde_json::from_str(&json_schema::message(desc)).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

#[test]
fn the_schema_is_golden() {
    let path = Path::new("tests/json/kinds.schema.json");
    let text = json_schema::message(&kinds()) + "\n";
    if std::env::var_os("NMFW_BLESS").is_some() {
        fs::write(path, &text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "NMFW_BLESS=1 writes {}", path.display());
}

#[test]
fn well_known_types_alone_have_a_schema() {
    let desc = kinds();
    for message in desc.parent_pool().all_messages() {
        if !message.is_map_entry() {
            validator(&message);
        }
    }
}

#[test]
fn documents_that_do_not_fit_are_refused() {
    let desc = kinds();
    let validator = validator(&desc);
    for document in [
        r#"{"unknown": 1}"#,
        r#"{"aDouble": "1x"}"#,
        r#"{"anInt32": 2147483648}"#,
        r#"{"anInt32": 0.5}"#,
        r#"{"anInt64": "1.5"}"#,
        r#"{"aUint64": -1}"#,
        r#"{"aBool": "true"}"#,
        r#"{"color": "BLUE"}"#,
        r#"{"items": {}}"#,
        r#"{"items": [1]}"#,
        r#"{"byNumber": {"x": ""}}"#,
        r#"{"byBool": {"yes": 1}}"#,
        r#"{"left": "", "right": 1}"#,
        r#"{"nested": {"nested": {"aBool": 1}}}"#,
        r#"{"at": "yesterday"}"#,
        r#"{"takes": "1"}"#,
        r#"{"object": []}"#,
        r#"{"list": {}}"#,
        r#"{"wrapped": true}"#,
        "[]",
    ] {
        let value: Value = serde_json::from_str(document).unwrap();
        assert!(!validator.is_valid(&value), "{document}");
        let read = json::to_message(&desc, document.as_bytes(), &JsonOptions::new());
        assert!(read.is_err(), "{document}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn documents_of_messages_fit(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        thread_local! {
            static DESC: MessageDescriptor = kinds();
            static VALIDATOR: Validator = DESC.with(validator);
        }
        let message = DESC.with(|desc| support::message(desc, &mut support::Entropy(&bytes), 0));
        for options in [JsonOptions::new(), JsonOptions::new().default_values(true)] {
            let document = json::from_dynamic(&message, &options).unwrap();
            let document: Value = serde_json::from_slice(&document).unwrap();
            let errors: Vec<String> = VALIDATOR.with(|validator| {
                validator
                    .iter_errors(&document)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect()
            });
            prop_assert!(errors.is_empty(), "{errors:?}\n{document:#}");
        }
    }
}
