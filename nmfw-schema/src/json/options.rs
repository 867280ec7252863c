//! [`JsonOptions`].

/// Options of [`to_message`](super::to_message) and [`from_message`](super::from_message).
///
/// ```
/// use nmfw_schema::json::JsonOptions;
///
/// let options = JsonOptions::new().ignore_unknown_fields(true).pretty(true);
/// ```
#[derive(Clone, Debug)]
pub struct JsonOptions {
    pub(super) ignore_unknown_fields: bool,
    pub(super) int64_as_number: bool,
    pub(super) enum_numbers: bool,
    pub(super) proto_field_names: bool,
    pub(super) default_values: bool,
    pub(super) pretty: bool,
    pub(super) max_bytes: usize,
}

impl JsonOptions {
    /// Returns the options of the protobuf JSON mapping's default behaviour: unknown fields are
    /// refused, 64-bit integers are strings, and fields with their default value are left out.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ignore_unknown_fields: false,
            int64_as_number: false,
            enum_numbers: false,
            proto_field_names: false,
            default_values: false,
            pretty: false,
            max_bytes: 64 << 20,
        }
    }

    /// Ignores fields and names of enum values that the schema lacks, instead of refusing them.
    #[must_use]
    pub const fn ignore_unknown_fields(mut self, yes: bool) -> Self {
        self.ignore_unknown_fields = yes;
        self
    }

    /// Writes 64-bit integers as numbers instead of strings.
    ///
    /// Many JSON readers, such as JavaScript, round numbers above 2^53. Both forms are always
    /// read.
    #[must_use]
    pub const fn int64_as_number(mut self, yes: bool) -> Self {
        self.int64_as_number = yes;
        self
    }

    /// Writes enum values as numbers instead of names. Both forms are always read.
    #[must_use]
    pub const fn enum_numbers(mut self, yes: bool) -> Self {
        self.enum_numbers = yes;
        self
    }

    /// Writes the names of fields as in the `.proto` instead of in camel case. Both forms are
    /// always read.
    #[must_use]
    pub const fn proto_field_names(mut self, yes: bool) -> Self {
        self.proto_field_names = yes;
        self
    }

    /// Writes fields without presence, lists and maps also if they have their default value.
    #[must_use]
    pub const fn default_values(mut self, yes: bool) -> Self {
        self.default_values = yes;
        self
    }

    /// Writes the document over several lines, indented by two spaces.
    #[must_use]
    pub const fn pretty(mut self, yes: bool) -> Self {
        self.pretty = yes;
        self
    }

    /// Sets the largest length of a document that is read or written, in bytes; 64 MiB by
    /// default.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self::new()
    }
}
