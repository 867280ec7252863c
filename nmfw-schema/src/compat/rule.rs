//! [`Rule`] and [`Category`].

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The kind of reader that a change can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Category {
    /// Readers of the binary encoding: buf's category `WIRE`.
    Wire,
    /// Readers of the binary encoding or of JSON: buf's category `WIRE_JSON`.
    WireJson,
    /// Callers of a service or method that is gone.
    ///
    /// buf has these two rules in its category `PACKAGE`; `WIRE` and `WIRE_JSON` lack them.
    Service,
}

impl Category {
    /// All categories.
    pub const ALL: [Self; 3] = [Self::Wire, Self::WireJson, Self::Service];

    /// Returns the name, such as `WIRE_JSON`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Wire => "WIRE",
            Self::WireJson => "WIRE_JSON",
            Self::Service => "SERVICE",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// Generates [`Rule`] from one table, so that a rule cannot lack a name or a category.
macro_rules! rules {
    ($($name:ident $id:literal [$($category:ident),+] $purpose:literal;)+) => {
        /// A rule of compatibility, named as in buf.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = concat!("`", $id, "`: ", $purpose, ".")] $name,)+
        }

        impl Rule {
            /// All rules, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns buf's name of the rule, such as `FIELD_SAME_NAME`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// Returns the categories that contain the rule; at least one.
            #[must_use]
            pub const fn categories(self) -> &'static [Category] {
                match self { $(Self::$name => &[$(Category::$category),+],)+ }
            }

            /// Returns a sentence that says what the rule checks, without a full stop.
            #[must_use]
            pub const fn purpose(self) -> &'static str {
                match self { $(Self::$name => $purpose,)+ }
            }
        }
    };
}

rules! {
    EnumSameJsonFormat "ENUM_SAME_JSON_FORMAT" [WireJson]
        "Enums keep their support for JSON";
    EnumValueNoDeleteUnlessNameReserved "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED" [WireJson]
        "The names of deleted enum values are reserved";
    EnumValueNoDeleteUnlessNumberReserved "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED" [Wire, WireJson]
        "The numbers of deleted enum values are reserved";
    EnumValueSameName "ENUM_VALUE_SAME_NAME" [WireJson]
        "Enum values keep their names";
    FieldNoDeleteUnlessNameReserved "FIELD_NO_DELETE_UNLESS_NAME_RESERVED" [WireJson]
        "The names of deleted fields are reserved";
    FieldNoDeleteUnlessNumberReserved "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED" [Wire, WireJson]
        "The numbers of deleted fields are reserved";
    FieldSameDefault "FIELD_SAME_DEFAULT" [Wire, WireJson]
        "Fields keep their default values";
    FieldSameJsonName "FIELD_SAME_JSON_NAME" [WireJson]
        "Fields keep their names in JSON";
    FieldSameName "FIELD_SAME_NAME" [WireJson]
        "Fields keep their names";
    FieldSameOneof "FIELD_SAME_ONEOF" [Wire, WireJson]
        "Fields stay inside or outside of the same oneof";
    FieldWireCompatibleCardinality "FIELD_WIRE_COMPATIBLE_CARDINALITY" [Wire]
        "Fields keep a cardinality with the same encoding";
    FieldWireCompatibleType "FIELD_WIRE_COMPATIBLE_TYPE" [Wire]
        "Fields keep a type with the same encoding";
    FieldWireJsonCompatibleCardinality "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY" [WireJson]
        "Fields keep a cardinality with the same encoding and the same JSON";
    FieldWireJsonCompatibleType "FIELD_WIRE_JSON_COMPATIBLE_TYPE" [WireJson]
        "Fields keep a type with the same encoding and the same JSON";
    FileSamePackage "FILE_SAME_PACKAGE" [Wire, WireJson]
        "Files keep their package";
    MessageSameJsonFormat "MESSAGE_SAME_JSON_FORMAT" [WireJson]
        "Messages keep their support for JSON";
    MessageSameRequiredFields "MESSAGE_SAME_REQUIRED_FIELDS" [Wire, WireJson]
        "Messages neither gain nor lose required fields";
    PackageServiceNoDelete "PACKAGE_SERVICE_NO_DELETE" [Service]
        "Services are not deleted";
    ReservedEnumNoDelete "RESERVED_ENUM_NO_DELETE" [Wire, WireJson]
        "Reserved numbers and names of enums stay reserved";
    ReservedMessageNoDelete "RESERVED_MESSAGE_NO_DELETE" [Wire, WireJson]
        "Reserved numbers and names of messages stay reserved";
    RpcNoDelete "RPC_NO_DELETE" [Service]
        "Methods are not deleted";
    RpcSameClientStreaming "RPC_SAME_CLIENT_STREAMING" [Wire, WireJson]
        "Methods take a stream of requests, or not, as before";
    RpcSameIdempotencyLevel "RPC_SAME_IDEMPOTENCY_LEVEL" [Wire, WireJson]
        "Methods keep their idempotency level";
    RpcSameRequestType "RPC_SAME_REQUEST_TYPE" [Wire, WireJson]
        "Methods keep their request type";
    RpcSameResponseType "RPC_SAME_RESPONSE_TYPE" [Wire, WireJson]
        "Methods keep their response type";
    RpcSameServerStreaming "RPC_SAME_SERVER_STREAMING" [Wire, WireJson]
        "Methods answer with a stream, or not, as before";
}

impl Rule {
    /// Returns the first category of the rule: [`Wire`](Category::Wire) if a change breaks readers of
    /// the binary encoding, too.
    #[must_use]
    pub const fn category(self) -> Category {
        self.categories()[0]
    }

    /// Whether the category contains the rule.
    #[must_use]
    pub fn is_in(self, category: Category) -> bool {
        self.categories().contains(&category)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    /// Reads a rule's [`id`](Self::id), in upper or lower case.
    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|rule| rule.id().eq_ignore_ascii_case(id))
            .ok_or_else(|| UnknownRule(super::text::shown(id)))
    }
}

/// A name that no [`Rule`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRule(String);

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no rule of compatibility is called `{}`; the rules are",
            self.0
        )?;
        for (position, rule) in Rule::ALL.iter().enumerate() {
            write!(f, "{}{rule}", if position == 0 { " " } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownRule {}

/// The rules that a comparison reports.
///
/// ```
/// use nmfw_schema::compat::{Category, Rule, Rules};
///
/// let binary_only = Rules::of(&[Category::Wire, Category::Service]);
/// assert!(!binary_only.contains(Rule::FieldSameName));
///
/// let lenient = Rules::default().without(Rule::FieldSameDefault);
/// assert!(!lenient.contains(Rule::FieldSameDefault));
/// assert!(lenient.contains(Rule::FieldSameName));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A bit for each rule.
    shown: u32,
    /// The rules that count for nothing.
    excepted: u32,
}

impl Default for Rules {
    /// Returns the rules of [`Category::WireJson`] and [`Category::Service`].
    fn default() -> Self {
        Self::of(&[Category::WireJson, Category::Service])
    }
}

impl Rules {
    /// Returns the rules of any of the categories.
    ///
    /// `WIRE` and `WIRE_JSON` together report some changes twice, because each has its own rule for
    /// types and for cardinalities.
    #[must_use]
    pub fn of(categories: &[Category]) -> Self {
        let shown = Rule::ALL
            .iter()
            .filter(|rule| categories.iter().any(|category| rule.is_in(*category)))
            .fold(0, |bits, rule| bits | rule.bit());
        Self { shown, excepted: 0 }
    }

    /// Returns all rules.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&Category::ALL)
    }

    /// Turns a rule off: its findings are not reported, and do not make schemas incompatible.
    #[must_use]
    pub fn without(mut self, rule: Rule) -> Self {
        self.shown &= !rule.bit();
        self.excepted |= rule.bit();
        self
    }

    /// Whether findings of this rule are reported.
    #[must_use]
    pub const fn contains(&self, rule: Rule) -> bool {
        self.shown & rule.bit() != 0
    }

    /// Whether [`without`](Self::without) turned the rule off.
    pub(super) const fn excepts(&self, rule: Rule) -> bool {
        self.excepted & rule.bit() != 0
    }
}

impl Rule {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const _: () = assert!(Rule::ALL.len() <= u32::BITS as usize);
