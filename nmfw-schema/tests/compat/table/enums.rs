//! Rules about enums.

use super::Case;

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
}
