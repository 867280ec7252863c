//! Pairs of schemas, rule by rule.

use nmfw_schema::compat::Rule;

/// A pair of schemas, and what a comparison by all rules finds.
pub(crate) struct Case {
    /// The rule that the case is about: one that fires, or nearly.
    pub(crate) rule: Rule,
    /// Unlike that of any other case.
    pub(crate) name: &'static str,
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
    /// The rules and elements of the findings, in the order of the report.
    pub(crate) finds: &'static [&'static str],
}

/// Each case is `Rule "name" "old" => "new" ["FINDING", ..]`; see [`files`](crate::schema::files) for
/// the texts.
macro_rules! cases {
    ($($rule:ident $name:literal $old:literal => $new:literal [$($finds:literal),* $(,)?])+) => {
        pub(super) const CASES: &[Case] = &[$(Case {
            rule: nmfw_schema::compat::Rule::$rule,
            name: $name,
            old: $old,
            new: $new,
            finds: &[$($finds),*],
        }),+];
    };
}

mod enums;
mod fields;
mod messages;
mod services;
mod types;

/// Returns all cases.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    [
        enums::CASES,
        fields::CASES,
        messages::CASES,
        services::CASES,
        types::CASES,
    ]
    .into_iter()
    .flatten()
}
