//! The permissions in a user JWT, as far as they concern inboxes.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The first token of inboxes.
const INBOX: &str = "_INBOX";

#[derive(Deserialize)]
struct Claims {
    nats: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    sub: Permission,
}

#[derive(Default, Deserialize)]
struct Permission {
    #[serde(default)]
    allow: Vec<String>,
}

/// Returns the inbox prefix if the JWT allows the user to subscribe to inboxes with a single prefix
/// only; with the common prefix, such a user would get no answers. Returns `None` if the JWT allows
/// inboxes with the common prefix, or contains no permissions, because they are those of a signing
/// key.
///
/// The NATS server checks the JWT; here it only selects a default.
pub(super) fn inbox_prefix(jwt: &str) -> Option<String> {
    let claims = jwt.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD
        .decode(claims.trim_end_matches('='))
        .ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let mut prefix = None;
    for subject in &claims.nats.sub.allow {
        let mut tokens = subject.split('.');
        let (first, second) = (tokens.next()?, tokens.next());
        let is_common = first == INBOX && matches!(second, Some("*" | ">"));
        if is_common || matches!(first, "*" | ">") {
            return None;
        }
        let own = subject
            .strip_suffix(".>")
            .filter(|_| first.starts_with(INBOX));
        let is_plain = |own: &&str| !own.contains(['*', '>']) && !own.contains(char::is_whitespace);
        let Some(own) = own.filter(is_plain) else {
            continue;
        };
        if prefix.is_some_and(|prefix| prefix != own) {
            return None;
        }
        prefix = Some(own);
    }
    prefix.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
        format!("eyJ0eXAiOiJKV1QifQ.{claims}.c2lnbmF0dXJl")
    }

    fn prefix(allow: &[&str]) -> Option<String> {
        let claims = serde_json::json!({
            "name": "ann",
            "nats": { "sub": { "allow": allow }, "pub": {}, "subs": -1, "type": "user" },
        });
        inbox_prefix(&jwt(&claims.to_string()))
    }

    #[test]
    fn the_only_inboxes_that_are_allowed() {
        for (allow, expected) in [
            (&["_INBOX.ann.>"][..], Some("_INBOX.ann")),
            (&["nmfw.calc.>", "_INBOX_ann.>"], Some("_INBOX_ann")),
            (&["_INBOX.ann.>", "_INBOX.ann.>"], Some("_INBOX.ann")),
            (&["_INBOX.team.ann.>"], Some("_INBOX.team.ann")),
            (&[], None),
            (&["nmfw.calc.>"], None),
            (&["_INBOX.>"], None),
            (&["_INBOX.ann.>", "_INBOX.>"], None),
            (&["_INBOX.ann.>", ">"], None),
            (&["_INBOX.*.>"], None),
            (&["_INBOX.ann.*"], None),
            (&["_INBOX.ann.> queue"], None),
            (&["_INBOX.ann.>", "_INBOX.bob.>"], None),
        ] {
            assert_eq!(prefix(allow).as_deref(), expected, "{allow:?}");
        }
    }

    #[test]
    fn what_is_no_jwt_has_no_prefix() {
        for text in [
            "",
            "a",
            "a.b.c",
            "a.e30.c",
            &jwt("[]"),
            &jwt(r#"{"nats":7}"#),
        ] {
            assert_eq!(inbox_prefix(text), None, "{text}");
        }
        assert_eq!(inbox_prefix(&jwt(r#"{"nats":{}}"#)), None);
    }
}
