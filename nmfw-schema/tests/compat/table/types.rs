//! Rules about types and cardinalities of fields.

use super::Case;

cases! {
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

    FieldWireCompatibleType "a map is renamed, and its values change"
        "message M { map<string, string> a = 1; }"
        => "message M {\n  map<string, bool> b = 1 [json_name = \"a\"];\n}"
        [
            "FIELD_WIRE_COMPATIBLE_TYPE t.M.a",
            "FIELD_WIRE_JSON_COMPATIBLE_TYPE t.M.a",
            "FIELD_SAME_NAME t.M.a",
        ]

    FieldWireCompatibleType "a new map takes the name of a deleted one"
        "message M { map<string, string> a = 1; }"
        => "message M {\n  reserved 1;\n  map<string, bool> a = 2;\n}"
        ["FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.M.a"]

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
}
