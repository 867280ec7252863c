//! [`Name`]: the names in a new crate.

/// The longest name, with which all lines of the generated code stay short.
const MAX: usize = 30;

/// Rust's keywords, which are no names of crates and packages.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names of crates that the generated crate uses, and of folders that cargo makes.
const CRATES: [&str; 11] = [
    "alloc",
    "core",
    "futures-util",
    "nmfw",
    "nmfw-build",
    "proc-macro",
    "prost",
    "std",
    "target",
    "test",
    "tokio",
];

/// Services whose names the messages of the template have, or that hide what its code uses.
const SERVICES: [&str; 9] = [
    "CountRequest",
    "HelloReply",
    "HelloRequest",
    "Number",
    "Option",
    "Result",
    "Self",
    "Some",
    "String",
];

/// The names that follow from that of a crate, such as `order-book`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The crate on the command line: `order-book`.
    pub(super) package: String,
    /// The crate in code: `order_book`.
    pub(super) library: String,
    /// The package of the `.proto`: `orderbook`, so that the subject is `nmfw.orderbook`.
    pub(super) proto: String,
    /// The service: `OrderBook`.
    pub(super) service: String,
}

impl Name {
    /// Checks a name for clap.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let first = text.chars().next().unwrap_or_default();
        if !first.is_ascii_lowercase() {
            return Err("begin with a lower-case letter, such as order-book".to_owned());
        }
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if let Some(other) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(format!(
                "{other:?} cannot be in the name of a crate: use lower-case letters, digits, - and _"
            ));
        }
        let parts: Vec<_> = text.split(['-', '_']).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err("put a letter or a digit on both sides of each - and _".to_owned());
        }
        if text.len() > MAX {
            return Err(format!("use at most {MAX} characters"));
        }
        let service = parts.iter().map(|part| {
            let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
            first.to_uppercase() + rest
        });
        let name = Self {
            package: text.to_owned(),
            library: text.replace('-', "_"),
            proto: parts.concat(),
            service: service.collect(),
        };
        for taken in [&name.library, &name.proto] {
            if KEYWORDS.contains(&taken.as_str()) {
                return Err(format!("{taken} is a keyword of Rust: choose another name"));
            }
        }
        let is_crate = |other: &&str| *other == text || other.replace('-', "_") == name.library;
        if CRATES.iter().any(is_crate) {
            return Err(format!(
                "{text} is the name of a crate that it uses: choose another one"
            ));
        }
        if SERVICES.contains(&name.service.as_str()) {
            return Err(format!(
                "the service would be named {}, which its code uses: choose another name",
                name.service
            ));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn names_follow_from_that_of_the_crate() {
        for (text, library, proto, service) in [
            ("greeter", "greeter", "greeter", "Greeter"),
            ("order-book", "order_book", "orderbook", "OrderBook"),
            ("a_b-c2", "a_b_c2", "abc2", "ABC2"),
            ("v-2", "v_2", "v2", "V2"),
        ] {
            let name = Name::parse(text).unwrap();
            let of = (&*name.library, &*name.proto, &*name.service);
            assert_eq!(of, (library, proto, service));
        }
    }

    #[test]
    fn unfit_names_are_refused() {
        for (text, part) in [
            ("", "begin with"),
            ("2fast", "begin with"),
            ("Greeter", "begin with"),
            ("-a", "begin with"),
            ("../a", "begin with"),
            ("a/b", "'/' cannot be"),
            ("grüßen", "'ü' cannot be"),
            ("a--b", "on both sides"),
            ("a-", "on both sides"),
            ("async", "keyword"),
            ("as-ync", "keyword"),
            ("type", "keyword"),
            ("nmfw", "crate that it uses"),
            ("futures_util", "crate that it uses"),
            ("hello-request", "named HelloRequest"),
            ("result", "named Result"),
            ("a234567890123456789012345678901", "at most 30"),
        ] {
            let error = Name::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
