//! [`ClientId`]: identifies the client of a message by its reply subject.
//!
//! NATS does not name the sender of a message. Clients are distinguished by their reply subjects,
//! because NATS permissions decide which client can read there. A reply subject begins with the
//! client's inbox prefix:
//!
//! | reply subject | client |
//! |---|---|
//! | `_INBOX.<random>.<n>`, `_INBOX.<random>.s.<n>` | the connection, `_INBOX.<random>` |
//! | `<prefix>.<random>.<n>`, `<prefix>.<random>.s.<n>` | all connections with this inbox prefix |
//! | `_R_.<anything>`, a service import | account and user in `Nats-Request-Info`, if the import shares them; otherwise all such imports are one client |
//!
//! A sender can name any reply subject. It cannot read answers on a subject that it may not
//! subscribe to, so it cannot confirm a session there, but its requests and OPENs are charged to
//! another client. An identity is therefore suitable for fairness, but not for security.

use async_nats::HeaderMap;
use serde::Deserialize;

use nmfw_core::service::client_id::ClientId;

/// The default inbox prefix of clients.
const DEFAULT_INBOX: &str = "_INBOX";

/// Prefix of reply subjects of service imports.
const MAPPED: &str = "_R_.";

/// The header with which the NATS server describes the requestor of an import with `share: true`.
const REQUEST_INFO: &str = "Nats-Request-Info";

/// Maximum length of a description that is read.
const MAX_REQUEST_INFO: usize = 4096;

/// The relevant part of `Nats-Request-Info`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RequestInfo {
    acc: String,
    user: String,
    /// The connection, for users without a name.
    id: u64,
}

/// Returns the client of a message with this reply subject.
pub(crate) fn client_of(reply: &str, headers: Option<&HeaderMap>) -> ClientId {
    imported(reply, headers).unwrap_or_else(|| client_of_reply(reply))
}

/// Returns the client that the reply subject alone identifies.
pub(crate) fn client_of_reply(reply: &str) -> ClientId {
    ClientId::of(name(reply))
}

/// Returns the client of a service import that shares its identity.
pub(crate) fn imported(reply: &str, headers: Option<&HeaderMap>) -> Option<ClientId> {
    // Elsewhere, any sender could set the header.
    if !reply.starts_with(MAPPED) {
        return None;
    }
    let info = headers?.get(REQUEST_INFO)?.as_str();
    if info.len() > MAX_REQUEST_INFO {
        return None;
    }
    let RequestInfo { acc, user, id } = serde_json::from_str(info).ok()?;
    let id = if user.is_empty() { id } else { 0 };
    (!acc.is_empty()).then(|| ClientId::of((acc, user, id)))
}

/// Returns the part of a reply subject that identifies the client.
fn name(reply: &str) -> &str {
    if reply.starts_with(MAPPED) {
        return MAPPED;
    }
    let parent = |subject| parent_of(subject).unwrap_or(subject);
    let connection = parent(reply);
    let connection = connection.strip_suffix(".s").unwrap_or(connection);
    match parent_of(connection) {
        Some(prefix) if prefix != DEFAULT_INBOX => prefix,
        _ => connection,
    }
}

fn parent_of(subject: &str) -> Option<&str> {
    subject.rsplit_once('.').map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_a_connection_or_an_inbox_prefix() {
        for (reply, client) in [
            ("_INBOX.kq3.7", "_INBOX.kq3"),
            ("_INBOX.kq3.s.7", "_INBOX.kq3"),
            ("_INBOX.kq3", "_INBOX"),
            ("_INBOX_shop.kq3.7", "_INBOX_shop"),
            ("_INBOX_shop.kq3.s.7", "_INBOX_shop"),
            ("inbox.shop.kq3.7", "inbox.shop"),
            ("reply", "reply"),
            ("_R_.Vg4Q.x", "_R_."),
            ("", ""),
        ] {
            assert_eq!(name(reply), client, "{reply}");
        }
    }

    #[test]
    fn an_import_that_shares_is_a_user_of_an_account() {
        let info = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_INFO, value);
            headers
        };
        let of = |reply: &str, value: &str| client_of(reply, Some(&info(value)));
        let ann = of("_R_.1", r#"{"acc":"A","rtt":1,"user":"ann","id":7}"#);
        assert_eq!(
            ann,
            of("_R_.2", r#"{"acc":"A","rtt":2,"user":"ann","id":8}"#)
        );
        assert_ne!(ann, of("_R_.1", r#"{"acc":"B","user":"ann","id":7}"#));
        let nobody = of("_R_.1", r#"{"acc":"A","id":7}"#);
        assert_ne!(nobody, of("_R_.1", r#"{"acc":"A","id":8}"#));
        for other in ["", "{", "{}", "[]", r#"{"acc":7}"#] {
            assert_eq!(of("_R_.1", other), client_of_reply("_R_.9"), "{other}");
        }
        // Without an import, a sender can write anything into the header.
        let forged = of("_INBOX.a.1", r#"{"acc":"A","user":"ann"}"#);
        assert_eq!(forged, client_of_reply("_INBOX.a.2"));
    }
}
