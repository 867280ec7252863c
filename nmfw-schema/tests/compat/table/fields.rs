//! Rules about names, oneofs and default values of fields.

use super::Case;

cases! {
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
        "proto2\nenum E { A = 1; B = 2; }\nmessage M { optional E a = 1; repeated E b = 2; }"
        => "proto2\nenum E {\n  B = 2;\n  A = 1;\n}\nmessage M {\n  optional E a = 1;\n  repeated E b = 2;\n}"
        ["FIELD_SAME_DEFAULT t.M.a"]

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

    FieldSameName "a map is renamed"
        "message M { map<string, string> a = 1; }"
        => "message M {\n  map<string, string> b = 1;\n}"
        ["FIELD_SAME_JSON_NAME t.M.a", "FIELD_SAME_NAME t.M.a"]

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
}
