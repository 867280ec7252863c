//! Pairs of schemas, rule by rule.

use nmfw_schema::compat::Rule;

/// A pair of schemas, and what a comparison by all rules finds.
pub(crate) struct Case {
    /// The rule that the case is about: one that fires, or nearly.
    pub(crate) rule: Rule,
    pub(crate) name: &'static str,
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
    /// The rules and elements of the findings, in the order of the report.
    pub(crate) finds: &'static [&'static str],
}

macro_rules! cases {
    ($($rule:ident $name:literal $old:literal => $new:literal [$($finds:literal),* $(,)?])+) => {
        /// All pairs.
        pub(crate) const CASES: &[Case] = &[$(Case {
            rule: Rule::$rule,
            name: $name,
            old: $old,
            new: $new,
            finds: &[$($finds),*],
        }),+];
    };
}

cases! {
    EnumSameJsonFormat "an enum of proto3 becomes proto2"
        "enum E { A = 0; }"
        => "proto2\nenum E { A = 0; }"
        ["ENUM_SAME_JSON_FORMAT t.E"]
    EnumSameJsonFormat "an enum of proto2 becomes proto3"
        "proto2\nenum E { A = 0; }"
        => "enum E { A = 0; }"
        []
    EnumSameJsonFormat "a nested enum of proto3 becomes proto2"
        "message M {\n  enum E { A = 0; }\n}"
        => "proto2\nmessage M {\n  enum E { A = 0; }\n}"
        ["MESSAGE_SAME_JSON_FORMAT t.M", "ENUM_SAME_JSON_FORMAT t.M.E"]

    EnumValueNoDeleteUnlessNameReserved "a value is deleted and its number reserved"
        "enum E { A = 0; B = 1; }"
        => "enum E {\n  reserved 1;\n  A = 0;\n}"
        ["ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.E"]
    EnumValueNoDeleteUnlessNameReserved "one of two names of a deleted value is reserved"
        "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }"
        => "enum E {\n  reserved 1;\n  reserved \"B\";\n  A = 0;\n}"
        ["ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.E"]
    EnumValueNoDeleteUnlessNameReserved "all names of a deleted value are reserved"
        "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }"
        => "enum E {\n  reserved 1;\n  reserved \"B\", \"C\";\n  A = 0;\n}"
        []
    EnumValueNoDeleteUnlessNumberReserved "a value is deleted"
        "enum E { A = 0; B = 1; }"
        => "enum E { A = 0; }"
        [
            "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.E",
            "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED t.E",
        ]
    EnumValueNoDeleteUnlessNumberReserved "a value is deleted and its name reserved"
        "enum E { A = 0; B = 1; }"
        => "enum E {\n  reserved \"B\";\n  A = 0;\n}"
        ["ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED t.E"]
    EnumValueNoDeleteUnlessNumberReserved "a value is deleted and a range around it reserved"
        "enum E { A = 0; B = 5; }"
        => "enum E {\n  reserved 3 to max;\n  reserved \"B\";\n  A = 0;\n}"
        []
    EnumValueNoDeleteUnlessNumberReserved "a negative value is deleted and a range around it reserved"
        "enum E { A = 0; B = -5; }"
        => "enum E {\n  reserved -9 to -5;\n  reserved \"B\";\n  A = 0;\n}"
        []
    EnumValueNoDeleteUnlessNumberReserved "a value's number changes"
        "enum E { A = 0; B = 1; }"
        => "enum E { A = 0; B = 2; }"
        [
            "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.E",
            "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED t.E",
        ]

    EnumValueSameName "a value is renamed"
        "enum E { A = 0; B = 1; }"
        => "enum E {\n  A = 0;\n  C = 1;\n}"
        ["ENUM_VALUE_SAME_NAME t.E"]
    EnumValueSameName "a value gains a second name"
        "enum E { A = 0; B = 1; }"
        => "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }"
        []
    EnumValueSameName "a value loses its second name"
        "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }"
        => "enum E { A = 0; B = 1; }"
        ["ENUM_VALUE_SAME_NAME t.E"]
    EnumValueSameName "both names of a value change"
        "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }"
        => "enum E {\n  option allow_alias = true;\n  A = 0;\n  D = 1;\n  F = 1;\n}"
        ["ENUM_VALUE_SAME_NAME t.E", "ENUM_VALUE_SAME_NAME t.E"]
    EnumValueSameName "two values swap their numbers"
        "enum E { A = 0; B = 1; C = 2; }"
        => "enum E { A = 0; C = 1; B = 2; }"
        ["ENUM_VALUE_SAME_NAME t.E", "ENUM_VALUE_SAME_NAME t.E"]

    FieldNoDeleteUnlessNameReserved "a field is deleted and its number reserved"
        "message M { string a = 1; string b = 2; }"
        => "message M {\n  reserved 2;\n  string a = 1;\n}"
        ["FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.b"]
    FieldNoDeleteUnlessNameReserved "a field is deleted and another name reserved"
        "message M { string a = 1; string b = 2; }"
        => "message M {\n  reserved 2;\n  reserved \"c\";\n  string a = 1;\n}"
        ["FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.b"]
    FieldNoDeleteUnlessNameReserved "a field is deleted, and its number and name reserved"
        "message M { string a = 1; string b = 2; }"
        => "message M {\n  reserved 2;\n  reserved \"b\";\n  string a = 1;\n}"
        []
    FieldNoDeleteUnlessNumberReserved "a field is deleted"
        "message M { string a = 1; string b = 2; }"
        => "message M { string a = 1; }"
        [
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.b",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.b",
        ]
    FieldNoDeleteUnlessNumberReserved "a field is deleted and its name reserved"
        "message M { string a = 1; string b = 2; }"
        => "message M {\n  reserved \"b\";\n  string a = 1;\n}"
        ["FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.b"]
    FieldNoDeleteUnlessNumberReserved "a field is deleted and a range that ends before it reserved"
        "message M { string a = 1; string b = 9; }"
        => "message M {\n  reserved 2 to 8;\n  reserved \"b\";\n  string a = 1;\n}"
        ["FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.b"]
    FieldNoDeleteUnlessNumberReserved "a field is deleted and a range that ends with it reserved"
        "message M { string a = 1; string b = 9; }"
        => "message M {\n  reserved 2 to 9;\n  reserved \"b\";\n  string a = 1;\n}"
        []
    FieldNoDeleteUnlessNumberReserved "a field's number changes"
        "message M { string a = 1; }"
        => "message M { string a = 2; }"
        [
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.a",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.a",
        ]
    FieldNoDeleteUnlessNumberReserved "fields of a nested message and of a oneof are deleted"
        "message M {\n  message N { string a = 1; }\n  oneof o {\n    string b = 2;\n    string c = 3;\n  }\n}"
        => "message M {\n  message N {}\n  oneof o {\n    string c = 3;\n  }\n}"
        [
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.b",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.b",
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.N.a",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.N.a",
        ]
    FieldNoDeleteUnlessNumberReserved "a map is deleted"
        "message M { map<string, string> a = 1; }"
        => "message M {}"
        [
            "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.a",
            "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.M.a",
        ]
    FieldNoDeleteUnlessNumberReserved "a message is deleted"
        "message M { string a = 1; }\nmessage N { string a = 1; }"
        => "message M { string a = 1; }"
        []
    FieldNoDeleteUnlessNumberReserved "an extension is deleted"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional string a = 100; }"
        => "proto2\nmessage M { extensions 100 to 200; }"
        []

    FieldSameDefault "a default value changes"
        "proto2\nmessage M { optional int32 a = 1 [default = 1]; }"
        => "proto2\nmessage M {\n  optional int32 a = 1 [default = 2];\n}"
        ["FIELD_SAME_DEFAULT t.M.a"]
    FieldSameDefault "a default value is removed"
        "proto2\nmessage M { optional string a = 1 [default = \"x\"]; }"
        => "proto2\nmessage M {\n  optional string a = 1;\n}"
        ["FIELD_SAME_DEFAULT t.M.a"]
    FieldSameDefault "a default value is added"
        "proto2\nmessage M { optional bytes a = 1; }"
        => "proto2\nmessage M {\n  optional bytes a = 1 [default = \"\\001x\"];\n}"
        ["FIELD_SAME_DEFAULT t.M.a"]
    FieldSameDefault "the default value of the type is written out"
        "proto2\nmessage M { optional int32 a = 1; optional string b = 2; optional bool c = 3; optional double d = 4; }"
        => "proto2\nmessage M { optional int32 a = 1 [default = 0]; optional string b = 2 [default = \"\"]; optional bool c = 3 [default = false]; optional double d = 4 [default = -0.0]; }"
        []
    FieldSameDefault "a float becomes a double and keeps its default value"
        "proto2\nmessage M { optional float a = 1 [default = 0.1]; }"
        => "proto2\nmessage M {\n  optional double a = 1 [default = 0.1];\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldSameDefault "the largest number becomes a float"
        "proto2\nmessage M { optional uint64 a = 1 [default = 18446744073709551615]; }"
        => "proto2\nmessage M {\n  optional float a = 1 [default = 18446744073709551615];\n}"
        [
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_SAME_DEFAULT t.M.a",
        ]
    FieldSameDefault "not a number stays not a number"
        "proto2\nmessage M { optional double a = 1 [default = nan]; }"
        => "proto2\nmessage M { optional double a = 1 [default = nan]; }"
        []
    FieldSameDefault "infinity changes its sign"
        "proto2\nmessage M { optional double a = 1 [default = inf]; }"
        => "proto2\nmessage M {\n  optional double a = 1 [default = -inf];\n}"
        ["FIELD_SAME_DEFAULT t.M.a"]
    FieldSameDefault "an enum's first value changes"
        "proto2\nenum E { A = 1; B = 2; }\nmessage M { optional E a = 1; repeated E b = 2; map<string, E> c = 3; }"
        => "proto2\nenum E {\n  B = 2;\n  A = 1;\n}\nmessage M {\n  optional E a = 1;\n  repeated E b = 2;\n  map<string, E> c = 3;\n}"
        ["FIELD_SAME_DEFAULT t.M.a", "FIELD_SAME_DEFAULT t.M.c"]
    FieldSameDefault "a value becomes an enum's explicit default"
        "proto2\nenum E { A = 1; B = 2; }\nmessage M { optional E a = 1; }"
        => "proto2\nenum E { A = 1; B = 2; }\nmessage M { optional E a = 1 [default = A]; }"
        []
    FieldSameDefault "an extension's default value changes"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100 [default = 1]; }"
        => "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100 [default = 2]; }"
        ["FIELD_SAME_DEFAULT t.a"]
    FieldSameDefault "a repeated field has none"
        "proto2\nmessage M { optional int32 a = 1 [default = 1]; }"
        => "proto2\nmessage M {\n  repeated int32 a = 1;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
        ]

    FieldSameJsonName "a JSON name changes"
        "message M { string a = 1 [json_name = \"x\"]; }"
        => "message M {\n  string a = 1 [json_name = \"y\"];\n}"
        ["FIELD_SAME_JSON_NAME t.M.a"]
    FieldSameJsonName "a JSON name is removed"
        "message M { string a = 1 [json_name = \"x\"]; }"
        => "message M {\n  string a = 1;\n}"
        ["FIELD_SAME_JSON_NAME t.M.a"]
    FieldSameJsonName "the JSON name that a field has anyway is written out"
        "message M { string a_b = 1; }"
        => "message M { string a_b = 1 [json_name = \"aB\"]; }"
        []
    FieldSameJsonName "a renamed field keeps its JSON name"
        "message M { string a = 1; }"
        => "message M {\n  string b = 1 [json_name = \"a\"];\n}"
        ["FIELD_SAME_NAME t.M.a"]
    FieldSameName "a field is renamed"
        "message M { string a = 1; }"
        => "message M {\n  string b = 1;\n}"
        ["FIELD_SAME_JSON_NAME t.M.a", "FIELD_SAME_NAME t.M.a"]
    FieldSameName "a field is renamed and its JSON name stays"
        "message M { string a_b = 1; }"
        => "message M {\n  string aB = 1;\n}"
        ["FIELD_SAME_NAME t.M.a_b"]
    FieldSameName "two fields swap their numbers"
        "message M { string a = 1; string b = 2; }"
        => "message M {\n  string b = 1;\n  string a = 2;\n}"
        [
            "FIELD_SAME_JSON_NAME t.M.a",
            "FIELD_SAME_NAME t.M.a",
            "FIELD_SAME_JSON_NAME t.M.b",
            "FIELD_SAME_NAME t.M.b",
        ]
    FieldSameName "fields change their order"
        "message M { string a = 1; string b = 2; }"
        => "message M { string b = 2; string a = 1; }"
        []
    FieldSameName "an extension is renamed"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100; }"
        => "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 b = 100; }"
        ["FIELD_SAME_NAME t.a"]
    FieldSameName "an extension moves into a message"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100; }"
        => "proto2\nmessage M {\n  extensions 100 to 200;\n  extend M { optional int32 a = 100; }\n}"
        ["FIELD_SAME_NAME t.a"]
    FieldSameName "a message is renamed"
        "message M { string a = 1; }"
        => "message N { string b = 1; }"
        []

    FieldSameOneof "a field moves into a oneof"
        "message M { string a = 1; oneof o { string b = 2; } }"
        => "message M {\n  oneof o {\n    string b = 2;\n    string a = 1;\n  }\n}"
        ["FIELD_SAME_ONEOF t.M.a"]
    FieldSameOneof "a field moves out of a oneof"
        "message M { oneof o { string a = 1; string b = 2; } }"
        => "message M {\n  string a = 1;\n  oneof o { string b = 2; }\n}"
        ["FIELD_SAME_ONEOF t.M.a"]
    FieldSameOneof "a field moves to another oneof"
        "message M { oneof o { string a = 1; string b = 2; } oneof p { string c = 3; } }"
        => "message M {\n  oneof o { string b = 2; }\n  oneof p {\n    string a = 1;\n    string c = 3;\n  }\n}"
        ["FIELD_SAME_ONEOF t.M.a"]
    FieldSameOneof "a oneof is renamed"
        "message M { oneof o { string a = 1; } }"
        => "message M {\n  oneof p {\n    string a = 1;\n  }\n}"
        ["FIELD_SAME_ONEOF t.M.a"]
    FieldSameOneof "a field becomes optional"
        "message M { string a = 1; optional string b = 2; }"
        => "message M { optional string a = 1; string b = 2; }"
        []
    FieldSameOneof "an optional field moves into a oneof"
        "message M { optional string a = 1; }"
        => "message M {\n  oneof o {\n    string a = 1;\n  }\n}"
        ["FIELD_SAME_ONEOF t.M.a"]
    FieldSameOneof "a oneof gains a field"
        "message M { oneof o { string a = 1; } }"
        => "message M { oneof o { string a = 1; string b = 2; } }"
        []

    FieldWireCompatibleCardinality "a field becomes repeated"
        "message M { string a = 1; }"
        => "message M {\n  repeated string a = 1;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
        ]
    FieldWireCompatibleCardinality "a repeated field becomes single"
        "message M { repeated int32 a = 1; }"
        => "message M {\n  optional int32 a = 1;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
        ]
    FieldWireCompatibleCardinality "an optional field becomes required"
        "proto2\nmessage M { optional string a = 1; }"
        => "proto2\nmessage M {\n  required string a = 1;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
            "MESSAGE_SAME_REQUIRED_FIELDS t.M.a",
        ]
    FieldWireCompatibleCardinality "a map of messages becomes a single field"
        "message M { map<int32, string> a = 1; }"
        => "message M {\n  message AEntry {\n    int32 key = 1;\n    string value = 2;\n  }\n  AEntry a = 1;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
        ]
    FieldWireCompatibleCardinality "presence changes"
        "message M { string a = 1; optional string b = 2; }"
        => "message M { optional string a = 1; string b = 2; }"
        []
    FieldWireCompatibleCardinality "packing changes"
        "message M { repeated int32 a = 1; }"
        => "message M { repeated int32 a = 1 [packed = false]; }"
        []
    FieldWireCompatibleCardinality "an extension becomes repeated"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100; }"
        => "proto2\nmessage M { extensions 100 to 200; }\nextend M { repeated int32 a = 100; }"
        [
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.a",
        ]
    FieldWireJsonCompatibleCardinality "a map becomes a list of messages like its entries"
        "message M { map<int32, string> a = 1; }"
        => "message M {\n  message AEntry {\n    int32 key = 1;\n    string value = 2;\n  }\n  repeated AEntry a = 1;\n}"
        ["FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a"]
    FieldWireJsonCompatibleCardinality "a list of messages stays a list"
        "message N { int32 key = 1; }\nmessage M { repeated N a = 1; }"
        => "message N { int32 key = 1; }\nmessage M { repeated N a = 1; }"
        []

    FieldWireCompatibleType "a string becomes a number"
        "message M { string a = 1; }\nservice S { rpc Do(M) returns (N); }\nmessage N {}"
        => "message M {\n  int32 a = 1;\n}\nservice S { rpc Do(M) returns (N); }\nmessage N {}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "a number becomes a zigzag number"
        "message M { int32 a = 1; }\nservice S { rpc Do(N) returns (M); }\nmessage N {}"
        => "message M {\n  sint32 a = 1;\n}\nservice S { rpc Do(N) returns (M); }\nmessage N {}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "bytes become a string"
        "message M { bytes a = 1; }"
        => "message M {\n  string a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "a fixed number becomes a float"
        "message M { fixed32 a = 1; sfixed64 b = 2; }"
        => "message M {\n  float a = 1;\n  double b = 2;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.b",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.b",
        ]
    FieldWireCompatibleType "an enum becomes a number, and a number an enum"
        "enum E { A = 0; }\nmessage M { E a = 1; int32 b = 2; }"
        => "enum E { A = 0; }\nmessage M {\n  int32 a = 1;\n  E b = 2;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.b",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.b",
        ]
    FieldWireCompatibleType "a message becomes bytes, and bytes a message"
        "message N {}\nmessage M { N a = 1; bytes b = 2; }"
        => "message N {}\nmessage M {\n  bytes a = 1;\n  N b = 2;\n}"
        [
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.b",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.b",
        ]
    FieldWireCompatibleType "a message becomes another one with the same fields"
        "message N { string x = 1; }\nmessage O { string x = 1; }\nmessage M { N a = 1; }"
        => "message N { string x = 1; }\nmessage O { string x = 1; }\nmessage M {\n  O a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "an enum becomes one with another name"
        "enum E { A = 0; }\nmessage M { E a = 1; }"
        => "enum F { A = 0; }\nmessage M {\n  F a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "an enum moves into a message and gains a value"
        "enum E { A = 0; B = 1; }\nmessage M { E a = 1; }"
        => "message M {\n  enum E { A = 0; B = 1; C = 2; }\n  E a = 1;\n}"
        []
    FieldWireCompatibleType "an enum moves into a message and loses a value"
        "enum E { A = 0; B = 1; }\nmessage M { E a = 1; }"
        => "message M {\n  enum E { A = 0; }\n  E a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "an enum moves into a message and a value changes its number"
        "enum E { A = 0; B = 1; }\nmessage M { E a = 1; }"
        => "message M {\n  enum E { A = 0; B = 2; }\n  E a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "a group becomes a message"
        "proto2\nmessage M { optional group A = 1 { optional string x = 1; } }"
        => "proto2\nmessage M {\n  message A { optional string x = 1; }\n  optional A a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "a group stays a group"
        "proto2\nmessage M { optional group A = 1 { optional string x = 1; } }"
        => "proto2\nmessage M { optional group A = 1 { optional string x = 1; optional string y = 2; } }"
        []
    FieldWireCompatibleType "the values of a map change from strings to numbers"
        "message M { map<string, string> a = 1; }"
        => "message M {\n  map<string, int32> a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "the keys of a map change from numbers to strings"
        "message M { map<int32, string> a = 1; }"
        => "message M {\n  map<string, string> a = 1;\n}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "an extension's type changes"
        "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional int32 a = 100; }"
        => "proto2\nmessage M { extensions 100 to 200; }\nextend M { optional string a = 100; }"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.a"]
    FieldWireCompatibleType "a message from another file becomes one of this file"
        "import \"b.proto\";\nmessage M { N a = 1; }\n-- b.proto --\nmessage N {}"
        => "import \"b.proto\";\nmessage M {\n  O a = 1;\n}\nmessage O {}\n-- b.proto --\nmessage N {}"
        ["FIELD_WIRE_COMPATIBLE_TYPE t.M.a", "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireCompatibleType "a message moves to another file"
        "message N {}\nmessage M { N a = 1; }"
        => "import \"b.proto\";\nmessage M { N a = 1; }\n-- b.proto --\nmessage N {}"
        []
    FieldWireCompatibleType "a number becomes larger"
        "message M { int32 a = 1; bool b = 2; uint64 c = 3; sint32 d = 4; }"
        => "message M {\n  int64 a = 1;\n  int32 b = 2;\n  bool c = 3;\n  sint64 d = 4;\n}"
        [
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.b",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.c",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.d",
        ]
    FieldWireJsonCompatibleType "a string becomes bytes"
        "message M { string a = 1; }"
        => "message M {\n  bytes a = 1;\n}"
        ["FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireJsonCompatibleType "the values of a map become larger"
        "message M { map<string, int32> a = 1; }"
        => "message M {\n  map<string, int64> a = 1;\n}"
        ["FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a"]
    FieldWireJsonCompatibleType "numbers change their sign"
        "message M { int32 a = 1; uint64 b = 2; fixed32 c = 3; sfixed64 d = 4; }"
        => "message M { uint32 a = 1; int64 b = 2; sfixed32 c = 3; fixed64 d = 4; }"
        []

    FileSamePackage "the package changes"
        "syntax = \"proto3\";\npackage t.v1;\nmessage M { string a = 1; }"
        => "syntax = \"proto3\";\n\npackage t.v2;\nmessage M { int32 a = 1; }"
        ["FILE_SAME_PACKAGE t.v1"]
    FileSamePackage "the package is removed"
        "syntax = \"proto3\";\npackage t.v1;\nmessage M {}"
        => "syntax = \"proto3\";\nmessage M {}"
        ["FILE_SAME_PACKAGE t.v1"]
    FileSamePackage "a package is added"
        "syntax = \"proto3\";\nmessage M {}"
        => "syntax = \"proto3\";\npackage t.v1;\nmessage M {}"
        ["FILE_SAME_PACKAGE a.proto"]
    FileSamePackage "a file is renamed and its package changes"
        "message M { string a = 1; }\n-- b.proto --\nmessage N {}"
        => "message M { string a = 1; }\n-- c.proto --\nsyntax = \"proto3\";\npackage u;\nmessage N {}"
        []
    FileSamePackage "a message moves to a file of another package"
        "message M { string a = 1; }"
        => "message N {}\n-- b.proto --\nsyntax = \"proto3\";\npackage u;\nmessage M { int32 a = 1; }"
        []

    MessageSameJsonFormat "a message of proto3 becomes proto2"
        "message M { optional string a = 1; }"
        => "proto2\nmessage M {\n  optional string a = 1;\n}"
        ["MESSAGE_SAME_JSON_FORMAT t.M"]
    MessageSameJsonFormat "a message of proto2 becomes proto3"
        "proto2\nmessage M { optional string a = 1; }"
        => "message M { optional string a = 1; }"
        []
    MessageSameJsonFormat "a message moves to a file with another syntax"
        "message M { optional string a = 1; }\n-- b.proto --\nproto2\nmessage N {}"
        => "message O {}\n-- b.proto --\nproto2\nmessage N {}\nmessage M { optional string a = 1; }"
        ["MESSAGE_SAME_JSON_FORMAT t.M"]

    MessageSameRequiredFields "a required field is deleted"
        "proto2\nmessage M { required string a = 1; }\nservice S { rpc Do(M) returns (N); }\nmessage N {}"
        => "proto2\nmessage M {\n  reserved 1;\n  reserved \"a\";\n}\nservice S { rpc Do(M) returns (N); }\nmessage N {}"
        ["MESSAGE_SAME_REQUIRED_FIELDS t.M.a"]
    MessageSameRequiredFields "a required field is added"
        "proto2\nmessage M {}\nservice S { rpc Do(M) returns (M); }"
        => "proto2\nmessage M {\n  required string a = 1;\n}\nservice S { rpc Do(M) returns (M); }"
        ["MESSAGE_SAME_REQUIRED_FIELDS t.M.a"]
    MessageSameRequiredFields "a required field becomes optional"
        "proto2\nmessage M { required string a = 1; }\nservice S { rpc Do(N) returns (M); }\nmessage N {}"
        => "proto2\nmessage M {\n  optional string a = 1;\n}\nservice S { rpc Do(N) returns (M); }\nmessage N {}"
        [
            "MESSAGE_SAME_REQUIRED_FIELDS t.M.a",
            "FIELD_WIRE_COMPATIBLE_CARDINALITY t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.M.a",
        ]
    MessageSameRequiredFields "required fields change their order"
        "proto2\nmessage M { required string a = 1; required string b = 2; }"
        => "proto2\nmessage M { required string b = 2; required string a = 1; }"
        []
    MessageSameRequiredFields "a new message has a required field"
        "proto2\nmessage M {}"
        => "proto2\nmessage M {}\nmessage N { required string a = 1; }"
        []

    PackageServiceNoDelete "a service is deleted"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}"
        ["PACKAGE_SERVICE_NO_DELETE t.S"]
    PackageServiceNoDelete "a service moves to another file of its package"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\n-- b.proto --\nimport \"a.proto\";\nservice S { rpc Do(M) returns (M); }"
        []
    PackageServiceNoDelete "a service is added"
        "message M {}"
        => "message M {}\nservice S { rpc Do(M) returns (M); }"
        []

    ReservedEnumNoDelete "a reserved number of an enum is free again"
        "enum E {\n  reserved 2, 5 to 9;\n  A = 0;\n}"
        => "enum E {\n  reserved 5 to 6, 8;\n  A = 0;\n}"
        ["RESERVED_ENUM_NO_DELETE t.E", "RESERVED_ENUM_NO_DELETE t.E"]
    ReservedEnumNoDelete "a reserved name of an enum is free again"
        "enum E {\n  reserved \"X\", \"Y\", \"Z\";\n  A = 0;\n}"
        => "enum E {\n  reserved \"Y\";\n  A = 0;\n}"
        ["RESERVED_ENUM_NO_DELETE t.E", "RESERVED_ENUM_NO_DELETE t.E"]
    ReservedEnumNoDelete "a reserved range up to the maximum ends"
        "enum E {\n  reserved 10 to max;\n  A = 0;\n}"
        => "enum E {\n  reserved 10 to 99;\n  A = 0;\n}"
        ["RESERVED_ENUM_NO_DELETE t.E"]
    ReservedEnumNoDelete "negative numbers are free again"
        "enum E {\n  reserved -9 to -1;\n  A = 0;\n}"
        => "enum E {\n  reserved -9 to -5;\n  A = 0;\n}"
        ["RESERVED_ENUM_NO_DELETE t.E"]
    ReservedEnumNoDelete "ranges of an enum are joined and extended"
        "enum E {\n  reserved 2, 3, 5 to 9;\n  reserved \"X\";\n  A = 0;\n}"
        => "enum E {\n  reserved 2 to 6, 7 to max;\n  reserved \"Y\", \"X\";\n  A = 0;\n}"
        []
    ReservedMessageNoDelete "a reserved number of a message is free again"
        "message M { reserved 2, 5 to 9; }"
        => "message M { reserved 1, 6 to 9; }"
        ["RESERVED_MESSAGE_NO_DELETE t.M", "RESERVED_MESSAGE_NO_DELETE t.M"]
    ReservedMessageNoDelete "a reserved name of a message is free again"
        "message M { reserved \"x\", \"y\"; }"
        => "message M { reserved \"y\"; }"
        ["RESERVED_MESSAGE_NO_DELETE t.M"]
    ReservedMessageNoDelete "a reserved number is used again"
        "message M { reserved 1; reserved \"a\"; }"
        => "message M { string a = 1; }"
        ["RESERVED_MESSAGE_NO_DELETE t.M", "RESERVED_MESSAGE_NO_DELETE t.M"]
    ReservedMessageNoDelete "a reserved range up to the maximum ends"
        "message M { reserved 100 to max; }"
        => "message M { reserved 200 to 300; }"
        ["RESERVED_MESSAGE_NO_DELETE t.M"]
    ReservedMessageNoDelete "ranges of a message are split and extended"
        "message M { reserved 2 to 9; reserved \"x\"; }"
        => "message M { reserved 1, 2, 3 to 5, 6 to 100; reserved \"x\", \"y\"; }"
        []

    RpcNoDelete "a method is deleted"
        "message M {}\nservice S { rpc Do(M) returns (M); rpc Go(M) returns (M); }"
        => "message M {}\nservice S { rpc Go(M) returns (M); }"
        ["RPC_NO_DELETE t.S.Do"]
    RpcNoDelete "a method is renamed"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S { rpc do(M) returns (M); }"
        ["RPC_NO_DELETE t.S.Do"]
    RpcNoDelete "methods change their order"
        "message M {}\nservice S { rpc Do(M) returns (M); rpc Go(M) returns (M); }"
        => "message M {}\nservice S { rpc Go(M) returns (M); rpc Do(M) returns (M); rpc An(M) returns (M); }"
        []

    RpcSameClientStreaming "a request becomes a stream"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S {\n  rpc Do(stream M) returns (M);\n}"
        ["RPC_SAME_CLIENT_STREAMING t.S.Do"]
    RpcSameClientStreaming "streams of requests and answers become single messages"
        "message M {}\nservice S { rpc Do(stream M) returns (stream M); }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (M);\n}"
        ["RPC_SAME_CLIENT_STREAMING t.S.Do", "RPC_SAME_SERVER_STREAMING t.S.Do"]
    RpcSameClientStreaming "a stream of requests stays one"
        "message M {}\nservice S { rpc Do(stream M) returns (M); }"
        => "message M { string a = 1; }\nservice S { rpc Do(stream M) returns (M); }"
        []
    RpcSameServerStreaming "a response becomes a stream"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (stream M);\n}"
        ["RPC_SAME_SERVER_STREAMING t.S.Do"]
    RpcSameServerStreaming "a stream of answers stays one"
        "message M {}\nservice S { rpc Do(M) returns (stream M); }"
        => "message M { string a = 1; }\nservice S { rpc Do(M) returns (stream M); }"
        []

    RpcSameIdempotencyLevel "a method is no longer idempotent"
        "message M {}\nservice S { rpc Do(M) returns (M) { option idempotency_level = IDEMPOTENT; } }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (M);\n}"
        ["RPC_SAME_IDEMPOTENCY_LEVEL t.S.Do"]
    RpcSameIdempotencyLevel "a method becomes idempotent"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (M) {\n    option idempotency_level = IDEMPOTENT;\n  }\n}"
        ["RPC_SAME_IDEMPOTENCY_LEVEL t.S.Do"]
    RpcSameIdempotencyLevel "a method gains side effects"
        "message M {}\nservice S { rpc Do(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; } }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (M) {\n    option idempotency_level = IDEMPOTENT;\n  }\n}"
        ["RPC_SAME_IDEMPOTENCY_LEVEL t.S.Do"]
    RpcSameIdempotencyLevel "a method loses its side effects"
        "message M {}\nservice S { rpc Do(M) returns (M) { option idempotency_level = IDEMPOTENT; } }"
        => "message M {}\nservice S {\n  rpc Do(M) returns (M) {\n    option idempotency_level = NO_SIDE_EFFECTS;\n  }\n}"
        ["RPC_SAME_IDEMPOTENCY_LEVEL t.S.Do"]
    RpcSameIdempotencyLevel "the default level is written out"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S { rpc Do(M) returns (M) { option idempotency_level = IDEMPOTENCY_UNKNOWN; } }"
        []

    RpcSameRequestType "a request type changes"
        "message M {}\nmessage N {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nmessage N {}\nservice S {\n  rpc Do(N) returns (M);\n}"
        ["RPC_SAME_REQUEST_TYPE t.S.Do"]
    RpcSameRequestType "both types of a method change"
        "message M {}\nmessage N {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nmessage N {}\nservice S {\n  rpc Do(stream N) returns (stream N);\n}"
        [
            "RPC_SAME_CLIENT_STREAMING t.S.Do",
            "RPC_SAME_SERVER_STREAMING t.S.Do",
            "RPC_SAME_REQUEST_TYPE t.S.Do",
            "RPC_SAME_RESPONSE_TYPE t.S.Do",
        ]
    RpcSameRequestType "a request type is written with its package"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nservice S { rpc Do(.t.M) returns (t.M); }"
        []
    RpcSameResponseType "a response type changes"
        "message M {}\nmessage N {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\nmessage N {}\nservice S {\n  rpc Do(M) returns (N);\n}"
        ["RPC_SAME_RESPONSE_TYPE t.S.Do"]
    RpcSameResponseType "a response type moves to another file"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "import \"b.proto\";\nservice S { rpc Do(M) returns (M); }\n-- b.proto --\nmessage M {}"
        []
}
