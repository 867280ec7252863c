//! [`nearest`]: the name that the user probably meant.

/// The similarity from which a name is suggested; the same as clap's for subcommands.
const SIMILAR: f64 = 0.7;

/// Returns the known name that is most similar to an unknown one, if any is.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let similarity = |name: &str| strsim::jaro(&unknown, &name.to_lowercase());
    known
        .into_iter()
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_found() {
        let known = ["calc", "acme-billing", "Expression"];
        for (unknown, expected) in [
            ("clac", Some("calc")),
            ("CALC", Some("calc")),
            ("acme-biling", Some("acme-billing")),
            ("expresion", Some("Expression")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), expected, "{unknown}");
        }
        assert_eq!(nearest("calc", []), None);
    }
}
