//! Rules about services and methods.

use super::Case;

cases! {
    PackageServiceNoDelete "a service is deleted"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}"
        ["PACKAGE_SERVICE_NO_DELETE t.S"]

    PackageServiceNoDelete "a service moves to another file of its package"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "message M {}\n-- b.proto --\nimport \"a.proto\";\nservice S { rpc Do(M) returns (M); }"
        []

    PackageServiceNoDelete "a service's package changes"
        "message M {}\nservice S { rpc Do(M) returns (M); }"
        => "syntax = \"proto3\";\npackage u;\nmessage M {}\nservice S { rpc Do(M) returns (M); }"
        ["FILE_SAME_PACKAGE t", "PACKAGE_SERVICE_NO_DELETE t.S"]

    PackageServiceNoDelete "a service's file is deleted, and its package stays"
        "message M {}\n-- b.proto --\nimport \"a.proto\";\nservice S { rpc Do(M) returns (M); }"
        => "message M {}"
        ["PACKAGE_SERVICE_NO_DELETE t.S"]

    PackageServiceNoDelete "a service is added"
        "message M {}"
        => "message M {}\nservice S { rpc Do(M) returns (M); }"
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
