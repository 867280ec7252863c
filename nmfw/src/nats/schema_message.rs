//! The messages of the `_schema` endpoint.

/// A request for a part of a schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SchemaRequest {
    /// The hash of the schema that the part belongs to; empty for that of the instance.
    #[prost(string, tag = "1")]
    pub(crate) hash: String,
    /// The number of bytes that precede the part.
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
}

/// A part of a schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SchemaResponse {
    /// The hash of the instance's schema: the SHA-256 of the encoded `FileDescriptorSet`, in lower-case
    /// hexadecimal digits.
    #[prost(string, tag = "1")]
    pub(crate) hash: String,
    /// The size of all parts together.
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
    /// A part of the encoded `FileDescriptorSet`, compressed with zlib (RFC 1950). Empty at the end of
    /// the schema, and if the instance has another one than requested.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) part: Vec<u8>,
}
