//! Schemas that are made to do harm.

use std::time::{Duration, Instant};

use nmfw_schema::Schema;
use nmfw_schema::compat::{Report, Rule, Rules, compare, compare_service};
use prost::Message as _;
use prost_types::descriptor_proto::ReservedRange;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, EnumValueDescriptorProto,
    FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};

/// Enough for linear work in a debug build on a busy machine, and too little for quadratic work.
const LIMIT: Duration = Duration::from_secs(60);

/// The number of elements of one kind.
const MANY: i32 = 60_000;

fn timed(old: &Schema, new: &Schema) -> Report {
    let start = Instant::now();
    let report = compare(old, new, Rules::all());
    let text = report.to_string();
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    assert!(text.len() < 30 << 20, "{} bytes", text.len());
    report
}

fn schema(file: FileDescriptorProto) -> Schema {
    let file = FileDescriptorProto {
        name: Some("a.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        ..file
    };
    let set = FileDescriptorSet { file: vec![file] };
    Schema::from_descriptor_set(&set.encode_to_vec()).unwrap()
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    }
}

fn of_messages(message_type: Vec<DescriptorProto>) -> Schema {
    schema(FileDescriptorProto {
        message_type,
        ..FileDescriptorProto::default()
    })
}

fn field(number: i32, kind: Type, type_name: Option<&str>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(format!("f{number}")),
        // 19000 to 19999 are not allowed.
        number: Some(if number < 19_000 {
            number
        } else {
            number + 1_000
        }),
        label: Some(Label::Optional as i32),
        r#type: Some(kind as i32),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    }
}

fn fields(kind: Type, type_name: Option<&str>) -> Vec<FieldDescriptorProto> {
    (1..=MANY)
        .map(|number| field(number, kind, type_name))
        .collect()
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let old = of_messages(vec![message("M", fields(Type::String, None))]);
    let report = timed(&old, &of_messages(vec![message("M", Vec::new())]));
    assert_eq!(report.findings().len(), Report::MAX_FINDINGS);
    assert_eq!(report.total(), 2 * MANY as usize);
    assert_eq!(report.omitted(), report.total() - Report::MAX_FINDINGS);
    assert!(
        report
            .to_string()
            .ends_with(&format!("\nand {} more\n", report.omitted()))
    );
    assert_eq!(
        report.count_of(Rule::FieldNoDeleteUnlessNameReserved),
        MANY as usize
    );

    let report = timed(
        &old,
        &of_messages(vec![message("M", fields(Type::Int32, None))]),
    );
    assert_eq!(report.total(), 2 * MANY as usize);
}

#[test]
fn long_names_do_not_make_long_findings() {
    // The longest that a schema may have, with the package.
    let long = "x".repeat(1_000);
    let fields: Vec<_> = (1..=100)
        .map(|number| field(number, Type::String, None))
        .collect();
    let old = of_messages(vec![message(&long, fields)]);
    let report = timed(&old, &of_messages(vec![message(&long, Vec::new())]));
    assert_eq!(report.total(), 200);
    assert!(report.to_string().len() < 200 * 1_000);
}

#[test]
fn many_reserved_ranges_take_linear_time() {
    let ranges = |step: i32| DescriptorProto {
        reserved_range: (1..=MANY)
            .map(|number| ReservedRange {
                start: Some(step * number),
                end: Some(step * number + 1),
            })
            .collect(),
        ..message("M", Vec::new())
    };
    let report = timed(&of_messages(vec![ranges(2)]), &of_messages(vec![ranges(3)]));
    assert_eq!(report.total(), MANY as usize * 2 / 3);
    // Ranges that overlap, which compilers refuse.
    let wide = DescriptorProto {
        reserved_range: (1..=MANY)
            .map(|number| ReservedRange {
                start: Some(number),
                end: Some(i32::MAX),
            })
            .collect(),
        ..message("M", Vec::new())
    };
    let report = timed(&of_messages(vec![wide]), &of_messages(vec![ranges(2)]));
    assert_eq!(report.total(), MANY as usize);
}

fn enumeration(name: &str, values: impl Iterator<Item = (String, i32)>) -> EnumDescriptorProto {
    EnumDescriptorProto {
        name: Some(name.to_owned()),
        value: values
            .map(|(name, number)| EnumValueDescriptorProto {
                name: Some(name),
                number: Some(number),
                options: None,
            })
            .collect(),
        options: Some(EnumOptions {
            allow_alias: Some(true),
            ..EnumOptions::default()
        }),
        ..EnumDescriptorProto::default()
    }
}

#[test]
fn many_names_of_one_enum_value_take_linear_time() {
    let of = |prefix: &str| {
        let values = (1..=MANY / 4).map(|number| (format!("{prefix}{number}"), 0));
        schema(FileDescriptorProto {
            enum_type: vec![enumeration("E", values)],
            ..FileDescriptorProto::default()
        })
    };
    let report = timed(&of("A"), &of("B"));
    assert_eq!(report.count_of(Rule::EnumValueSameName), MANY as usize / 4);
}

#[test]
fn many_fields_of_a_large_enum_take_linear_time() {
    let nested = |outer: &str| {
        let values = (0..MANY / 4).map(|number| (format!("A{number}"), number));
        let holder = DescriptorProto {
            enum_type: vec![enumeration("E", values)],
            ..message(outer, Vec::new())
        };
        let name = format!(".t.{outer}.E");
        of_messages(vec![holder, message("M", fields(Type::Enum, Some(&name)))])
    };
    let report = timed(&nested("Old"), &nested("New"));
    assert_eq!(report.total(), 0);
}

#[test]
fn a_long_chain_of_messages_does_not_overflow_the_stack() {
    let chain = |kind| {
        let mut messages: Vec<_> = (0..MANY / 4)
            .map(|number| {
                let next = format!(".t.M{}", (number + 1) % (MANY / 4));
                let name = format!("M{number}");
                message(
                    &name,
                    vec![field(1, Type::Message, Some(&next)), field(2, kind, None)],
                )
            })
            .collect();
        messages.push(message("Empty", Vec::new()));
        schema(FileDescriptorProto {
            message_type: messages,
            service: vec![ServiceDescriptorProto {
                name: Some("S".to_owned()),
                method: vec![MethodDescriptorProto {
                    name: Some("Do".to_owned()),
                    input_type: Some(".t.M0".to_owned()),
                    output_type: Some(".t.Empty".to_owned()),
                    ..MethodDescriptorProto::default()
                }],
                options: None,
            }],
            ..FileDescriptorProto::default()
        })
    };
    let (old, new) = (chain(Type::String), chain(Type::Bytes));
    assert_eq!(timed(&old, &new).total(), MANY as usize / 4);
    let report = compare_service(&old, &new, "t.S", Rules::all()).unwrap();
    assert_eq!(report.total(), MANY as usize / 4);
}
