//! Schemas that are broken by chance.

use nmfw_schema::Schema;
use nmfw_schema::compat::{Rules, compare, compare_service};
use proptest::prelude::*;
use prost::Message as _;
use prost_types::descriptor_proto::ReservedRange;
use prost_types::enum_descriptor_proto::EnumReservedRange;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::mutation::Random;
use crate::pairs::corpus;
use crate::schema::compile;

/// The files of the corpus, as one set.
fn corpus_set() -> FileDescriptorSet {
    let schema = compile(&corpus()).unwrap();
    FileDescriptorSet::decode(schema.descriptor_set()).unwrap()
}

/// Changes something, which need not make sense.
fn damage(set: &mut FileDescriptorSet, random: &mut Random) {
    let count = set.file.len();
    let file = &mut set.file[random.below(count)];
    match random.below(8) {
        0 => file.package = Some(text(random)),
        1 => {
            file.syntax = [None, Some("proto2".to_owned()), Some("proto3".to_owned())]
                [random.below(3)]
            .clone();
        }
        2 => {
            if let Some(info) = &mut file.source_code_info {
                let count = info.location.len();
                info.location[random.below(count)] = Location {
                    path: (0..random.below(5)).map(|_| number(random)).collect(),
                    span: (0..random.below(5)).map(|_| number(random)).collect(),
                    ..Location::default()
                };
            }
        }
        3 if !file.enum_type.is_empty() => {
            let count = file.enum_type.len();
            damage_enum(&mut file.enum_type[random.below(count)], random);
        }
        4 if !file.service.is_empty() => {
            let count = file.service.len();
            let service = &mut file.service[random.below(count)];
            if service.method.is_empty() {
                return;
            }
            let count = service.method.len();
            let method = &mut service.method[random.below(count)];
            match random.below(4) {
                0 => method.name = Some(text(random)),
                1 => method.client_streaming = Some(random.below(2) == 0),
                2 => method.options = None,
                _ => method.input_type.clone_from(&method.output_type.clone()),
            }
        }
        _ if !file.message_type.is_empty() => {
            let count = file.message_type.len();
            damage_message(&mut file.message_type[random.below(count)], random);
        }
        _ => {}
    }
}

fn damage_enum(found: &mut EnumDescriptorProto, random: &mut Random) {
    match random.below(4) {
        0 => {
            found.value.pop();
        }
        1 => found.reserved_range.push(EnumReservedRange {
            start: Some(number(random)),
            end: Some(number(random)),
        }),
        2 => found.value.reverse(),
        _ => {
            let count = found.value.len();
            if count > 0 {
                found.value[random.below(count)].number = Some(number(random));
            }
        }
    }
}

fn damage_message(message: &mut DescriptorProto, random: &mut Random) {
    if !message.nested_type.is_empty() && random.below(3) == 0 {
        let count = message.nested_type.len();
        return damage_message(&mut message.nested_type[random.below(count)], random);
    }
    match random.below(12) {
        0 => message.name = Some(text(random)),
        1 => message.reserved_name.push(text(random)),
        2 => message.reserved_range.push(ReservedRange {
            start: Some(number(random)),
            end: Some(number(random)),
        }),
        3 => message.options = None,
        4 => {
            message.oneof_decl.pop();
        }
        _ if message.field.is_empty() => {}
        5 => {
            let count = message.field.len();
            message.field.remove(random.below(count));
        }
        _ => {
            let count = message.field.len();
            damage_field(&mut message.field[random.below(count)], random);
        }
    }
}

fn damage_field(field: &mut FieldDescriptorProto, random: &mut Random) {
    match random.below(8) {
        0 => field.name = Some(text(random)),
        1 => field.number = Some(number(random)),
        2 => field.label = Some(1 + random.below(3) as i32),
        3 => field.r#type = Some(random.below(20) as i32),
        4 => {
            field.default_value =
                Some(["", "1", "nan", "true", "x", "-1e400"][random.below(6)].to_owned());
        }
        5 => field.json_name = Some(text(random)),
        6 => field.oneof_index = [None, Some(0), Some(7)][random.below(3)],
        _ => field.proto3_optional = Some(random.below(2) == 0),
    }
}

fn text(random: &mut Random) -> String {
    ["", "a", "key", "\u{1b}[2J\u{202e}", "é", "a.b"][random.below(6)].to_owned()
}

fn number(random: &mut Random) -> i32 {
    [0, 1, 2, 5, 100, -1, 19_500, 1 << 29, i32::MAX, i32::MIN][random.below(10)]
}

/// `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig {
            cases: 48,
            ..config
        },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn damaged_schemas_do_no_harm(seed in any::<u64>(), changes in 1usize..12) {
        thread_local!(static SET: FileDescriptorSet = corpus_set());
        let set = SET.with(Clone::clone);
        let old = Schema::from_descriptor_set(&set.encode_to_vec()).unwrap();
        let mut random = Random(seed);
        let mut damaged = set;
        for _ in 0..changes {
            let mut next = damaged.clone();
            damage(&mut next, &mut random);
            // A change that is refused is left out, so that more of them are seen together.
            if Schema::from_descriptor_set(&next.encode_to_vec()).is_ok() {
                damaged = next;
            }
        }
        let new = Schema::from_descriptor_set(&damaged.encode_to_vec()).unwrap();
        for (one, other) in [(&old, &new), (&new, &old)] {
            let report = compare(one, other, Rules::all());
            let again = compare(one, other, Rules::all());
            prop_assert_eq!(report.findings(), again.findings());
            prop_assert_eq!(report.total(), report.findings().len());
            prop_assert!(serde_json::to_string(&report).is_ok());
            let shown = report.to_string();
            prop_assert!(shown.chars().all(|char| char == '\n' || !char.is_control()));
            prop_assert_eq!(shown.lines().count(), report.total());
            for service in one.pool().services() {
                // What a service's clients notice is part of what all programs notice.
                let part = compare_service(one, other, service.full_name(), Rules::all()).unwrap();
                prop_assert!(part.total() <= report.total());
            }
        }
        let same = compare(&new, &new, Rules::all());
        prop_assert!(same.is_empty(), "{}", same);
    }
}
