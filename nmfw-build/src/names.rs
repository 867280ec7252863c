//! Converts names in a `.proto` to names in Rust and on NATS.

use heck::{ToShoutySnakeCase, ToSnakeCase, ToUpperCamelCase};

/// Maximum length of a method's subject in bytes. The runtime has the same limit.
pub(crate) const MAX_SUBJECT: usize = 1024;
/// Maximum length of a service's name in discovery.
pub(crate) const MAX_DISCOVERY_NAME: usize = 128;

/// Methods that a generated client already has, from itself or from a trait that every type
/// implements. A service method with such a name gets a trailing underscore, in the trait and in
/// the client.
const TAKEN: &[&str] = &[
    "new",
    "local",
    "wait_ready",
    "borrow",
    "borrow_mut",
    "clone",
    "clone_from",
    "clone_into",
    "fmt",
    "from",
    "into",
    "to_owned",
    "try_from",
    "try_into",
    "type_id",
];

/// Returns the Rust name of a method.
pub(crate) fn method(proto: &str) -> String {
    let snake = proto.to_snake_case();
    if TAKEN.contains(&snake.as_str()) {
        return format!("{snake}_");
    }
    escape(&snake)
}

/// Returns the Rust name of the constant that holds a method.
pub(crate) fn constant(proto: &str) -> String {
    proto.to_shouty_snake_case()
}

/// Returns the Rust name of a message, an enum or a service, by the rule of prost-build.
pub(crate) fn type_name(proto: &str) -> String {
    escape(&proto.to_upper_camel_case())
}

/// Returns the Rust name of an enum value, by the rule of prost-build, which by default strips the
/// name of the enum as a prefix unless the rest is not a name.
pub(crate) fn variant(enumeration: &str, value: &str, strip_prefix: bool) -> String {
    let name = type_name(value);
    if !strip_prefix {
        return name;
    }
    let stripped = name.strip_prefix(type_name(enumeration).as_str());
    let stripped = stripped.filter(|rest| rest.starts_with(char::is_uppercase));
    escape(stripped.unwrap_or(&name))
}

/// Returns the Rust name of the module for a part of a package or for items nested in a message.
pub(crate) fn module(proto: &str) -> String {
    escape(&proto.to_snake_case())
}

/// Returns the Rust name of a type that belongs to a service, such as its client.
pub(crate) fn companion(service: &str, suffix: &str) -> String {
    let stem = service.to_upper_camel_case();
    format!("{stem}{suffix}")
}

/// Returns the Rust name of the static that describes a service.
pub(crate) fn spec(service: &str) -> String {
    format!("{}_SPEC", service.to_shouty_snake_case())
}

/// Returns the file of a package, without `.rs`. Unlike prost-build, it leaves `r#` out of file
/// names.
pub(crate) fn file_stem(package: &str) -> String {
    if package.is_empty() {
        return "_".to_owned();
    }
    let parts: Vec<_> = package.split('.').map(ToSnakeCase::to_snake_case).collect();
    parts.join(".")
}

/// Makes an identifier from a word that may be a keyword, by the rule of prost-build, which does
/// not export it.
fn escape(word: &str) -> String {
    match word {
        "as" | "break" | "const" | "continue" | "else" | "enum" | "false" | "fn" | "for" | "if"
        | "impl" | "in" | "let" | "loop" | "match" | "mod" | "move" | "mut" | "pub" | "ref"
        | "return" | "static" | "struct" | "trait" | "true" | "type" | "unsafe" | "use"
        | "where" | "while" | "dyn" | "abstract" | "become" | "box" | "do" | "final" | "macro"
        | "override" | "priv" | "typeof" | "unsized" | "virtual" | "yield" | "async" | "await"
        | "try" | "gen" => format!("r#{word}"),
        "_" | "super" | "self" | "Self" | "extern" | "crate" => format!("{word}_"),
        _ if word.starts_with(|c: char| c.is_numeric()) => format!("_{word}"),
        _ => word.to_owned(),
    }
}

/// Returns the tokens that name a service on NATS: those of the package and the service in lower
/// case. If the package ends with the service's name, the two collapse: `calc.Calc` is `calc` and
/// not `calc.calc`.
pub(crate) fn tokens(package: &str, service: &str) -> Vec<String> {
    let mut tokens: Vec<String> = package
        .split('.')
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect();
    let service = service.to_lowercase();
    if tokens.last() != Some(&service) {
        tokens.push(service);
    }
    tokens
}

/// Checks that a subject is literal and outside of reserved space.
pub(crate) fn check_subject(subject: &str) -> Result<(), String> {
    if subject.is_empty() {
        return Err("is empty".to_owned());
    }
    for token in subject.split('.') {
        if token.is_empty() {
            return Err("has an empty token: dots must separate tokens".to_owned());
        }
        if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "has white space or a control character in the token {token:?}"
            ));
        }
        if token.contains(['*', '>']) {
            return Err(format!("has a wildcard in the token `{token}`"));
        }
        if token.starts_with(['_', '$']) {
            return Err(format!(
                "has the token `{token}`: those that begin with `_` or `$` are reserved"
            ));
        }
    }
    Ok(())
}

/// Checks the name of a queue group.
pub(crate) fn check_queue_group(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > MAX_SUBJECT {
        return Err(format!("is longer than {MAX_SUBJECT} bytes"));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("has white space or a control character".to_owned());
    }
    if name.contains(['*', '>']) {
        return Err("has a wildcard".to_owned());
    }
    if name.split('.').any(str::is_empty) {
        return Err("has an empty token: dots must separate tokens".to_owned());
    }
    Ok(())
}

/// Returns whether discovery (ADR-32) accepts the name of a service.
pub(crate) fn is_discovery_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_avoid_keywords_and_taken_names() {
        for (proto, rust) in [
            ("Add", "add"),
            ("GetHTTPRoute", "get_http_route"),
            ("Type", "r#type"),
            ("Self", "self_"),
            ("New", "new_"),
            ("WaitReady", "wait_ready_"),
            ("Clone", "clone_"),
            ("Gen", "r#gen"),
        ] {
            assert_eq!(method(proto), rust);
        }
    }

    #[test]
    fn variants_lose_the_name_of_their_enum() {
        for (value, rust) in [
            ("COLOR_RED", "Red"),
            ("RED", "Red"),
            ("COLORED", "Colored"),
            ("COLOR", "Color"),
            ("COLOR_1", "Color1"),
            ("COLOR_SELF", "Self_"),
        ] {
            assert_eq!(variant("Color", value, true), rust);
        }
        assert_eq!(variant("Color", "COLOR_RED", false), "ColorRed");
    }

    #[test]
    fn a_package_that_ends_with_the_service_collapses() {
        assert_eq!(tokens("calc", "Calc"), ["calc"]);
        assert_eq!(
            tokens("acme.billing.v1", "Invoices"),
            ["acme", "billing", "v1", "invoices"]
        );
        assert_eq!(tokens("", "Invoices"), ["invoices"]);
        assert_eq!(tokens("a.orders", "Orders"), ["a", "orders"]);
    }

    #[test]
    fn subjects_are_literal_and_outside_reserved_space() {
        for good in ["nmfw.calc", "a", "a-b.c_d.e$"] {
            assert_eq!(check_subject(good), Ok(()), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "_a", "a.$b", "a\tb", "a\u{7}",
        ] {
            assert!(check_subject(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn file_names_have_no_raw_identifiers() {
        assert_eq!(file_stem("type.async"), "type.async");
        assert_eq!(file_stem(""), "_");
        assert_eq!(file_stem("acme.v1"), "acme.v1");
    }
}
