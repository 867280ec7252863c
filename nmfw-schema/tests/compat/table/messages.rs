//! Rules about messages and files.

use super::Case;

cases! {
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

    MessageSameJsonFormat "a message with a map becomes proto2"
        "message M { map<string, string> a = 1; }"
        => "proto2\nmessage M {\n  map<string, string> a = 1;\n}"
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

    ReservedMessageNoDelete "a reserved range of a message up to the maximum ends"
        "message M { reserved 100 to max; }"
        => "message M { reserved 200 to 300; }"
        ["RESERVED_MESSAGE_NO_DELETE t.M"]

    ReservedMessageNoDelete "ranges of a message are split and extended"
        "message M { reserved 2 to 9; reserved \"x\"; }"
        => "message M { reserved 1, 2, 3 to 5, 6 to 100; reserved \"x\", \"y\"; }"
        []
}
