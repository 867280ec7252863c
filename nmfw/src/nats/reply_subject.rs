//! Checks of subjects that peers name for publishing.
//!
//! A service publishes an answer with its own permissions to a subject chosen by the peer. Without
//! a check, a peer could make the service call itself, another service or an API of NATS, or lose
//! its connection through an overlong line. Answers go to inboxes only. A client chooses the names
//! of its inboxes (`_INBOX.>` by default), so the check refuses everything that cannot be an inbox:
//!
//! - invalid subjects, and subjects with wildcards;
//! - more than [`MAX_LEN`] bytes: a NATS server closes connections whose control lines exceed 4096
//!   bytes (`max_control_line`, which it does not announce), and a packet's line also has a reply
//!   subject;
//! - subjects that begin with `$`: discovery, JetStream with its acknowledgements, and other APIs
//!   of NATS;
//! - subjects below `nmfw.`, the default of services, or below the base subject of any service of
//!   this process;
//! - subjects with a token `_open`, `_health`, `_schema`, `_i` or `_m`, which services elsewhere use, unless
//!   the first token begins with `_`, which no service's does.
//!
//! Mappings between accounts (`_R_.>`) pass. Other restrictions are left to NATS permissions.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use super::subject;
use nmfw_core::{escape::Escaped, log_limit::LogLimit, observe::metrics};

/// Maximum length of a peer's subject that is published to, in bytes.
const MAX_LEN: usize = 1024;

/// Default prefix of the base subjects of services.
const SERVICES: &str = "nmfw.";

/// Prefix of account mappings.
pub(crate) const MAPPED: &str = "_R_.";

/// Tokens of services that do not occur in inboxes.
const RESERVED: [&str; 5] = ["_open", "_health", "_schema", "_i", "_m"];

/// The base subjects of the services in this process.
static BASES: RwLock<Vec<Arc<str>>> = RwLock::new(Vec::new());

/// Rate limit for log lines about refused subjects.
static REFUSED: LogLimit = LogLimit::new();

/// The reason why a subject is not published to. Formatted as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    TooLong,
    Malformed,
    Api,
    Service,
    NoSession,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it has more than 1024 bytes",
            Self::Malformed => "it is not a valid subject without wildcards",
            Self::Api => "it begins with '$', which NATS reserves",
            Self::Service => "it belongs to a service and is not an inbox",
            Self::NoSession => "it is not a subject of that service's sessions",
        })
    }
}

/// Reserves the subjects of a service while it exists.
#[derive(Debug)]
pub(crate) struct OwnBase(Arc<str>);

impl OwnBase {
    pub(crate) fn new(base: &str) -> Self {
        let base = Arc::from(base);
        let mut bases = BASES.write().unwrap_or_else(PoisonError::into_inner);
        bases.push(Arc::clone(&base));
        Self(base)
    }
}

impl Drop for OwnBase {
    fn drop(&mut self) {
        let mut bases = BASES.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = bases.iter().position(|base| Arc::ptr_eq(base, &self.0)) {
            bases.swap_remove(at);
        }
    }
}

/// Checks the reply subject of any request.
pub(crate) fn check(reply: &str) -> Result<(), Refused> {
    check_form(reply)?;
    match reply.as_bytes().first() {
        Some(b'$') => return Err(Refused::Api),
        // The usual case, an inbox: no service's base begins with an underscore.
        Some(b'_') => return Ok(()),
        _ => {}
    }
    let is_reserved = reply.starts_with(SERVICES)
        || reply.split('.').any(|token| RESERVED.contains(&token))
        || is_below_own(reply);
    if is_reserved {
        return Err(Refused::Service);
    }
    Ok(())
}

/// Returns whether an answer may be published to `reply`. A refusal is counted, and logged at a
/// limited rate.
pub(crate) fn admits(what: &'static str, reply: &str) -> bool {
    match check(reply) {
        Ok(()) => true,
        Err(why) => {
            refuse(what, reply, why);
            false
        }
    }
}

/// Checks the subject that a service has named for a session's packets. The session was opened on
/// `open`, the service's `_open` or a method's subject.
pub(crate) fn check_session(reply: &str, open: &str) -> Result<(), Refused> {
    let checked = check_form(reply).and_then(|()| {
        let base = open.rsplit_once('.').map_or(open, |(base, _)| base);
        let base = subject::service_of_pinned(base).unwrap_or(base);
        let own = reply.strip_prefix(base);
        let is_own = own.is_some_and(|own| own.starts_with("._i.") || own.starts_with("._m."));
        match is_own || reply.starts_with(MAPPED) {
            true => Ok(()),
            false => Err(Refused::NoSession),
        }
    });
    checked.inspect_err(|why| refuse("ACCEPT of a session", reply, *why))
}

/// Returns whether `reply` has the form of a service's session subject, because the service of an
/// ended session is no longer known. A refusal is counted, and logged at a limited rate.
pub(crate) fn admits_session(what: &'static str, reply: &str) -> bool {
    let checked = check_form(reply).and_then(|()| {
        let is_service = !reply.starts_with(['_', '$'])
            && reply.split('.').any(|token| matches!(token, "_i" | "_m"));
        match is_service || reply.starts_with(MAPPED) {
            true => Ok(()),
            false => Err(Refused::NoSession),
        }
    });
    if let Err(why) = checked {
        refuse(what, reply, why);
    }
    checked.is_ok()
}

#[cold]
fn refuse(what: &'static str, reply: &str, why: Refused) {
    metrics::reply_subject_refused();
    if let Some(left_out) = REFUSED.pass() {
        let reply = Escaped::new(reply);
        tracing::warn!(
            what, %reply, %why, left_out,
            "dropped a message: its reply subject is not allowed"
        );
    }
}

/// Checks the general rules of subjects, in one pass, because each request has one.
fn check_form(subject: &str) -> Result<(), Refused> {
    if subject.len() > MAX_LEN {
        return Err(Refused::TooLong);
    }
    let mut before = b'.';
    for byte in subject.bytes() {
        let is_bad =
            byte <= b' ' || matches!(byte, b'*' | b'>' | 0x7f) || (byte == b'.' && before == b'.');
        if is_bad {
            return Err(Refused::Malformed);
        }
        before = byte;
    }
    match before {
        b'.' => Err(Refused::Malformed),
        _ => Ok(()),
    }
}

fn is_below_own(subject: &str) -> bool {
    let bases = BASES.read().unwrap_or_else(PoisonError::into_inner);
    bases.iter().any(|base| {
        let rest = subject.strip_prefix(&**base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn inboxes_pass() {
        for reply in [
            "_INBOX.abc.1",
            "_INBOX_alice.abc.s.1f",
            "_INBOX._i.odd",
            "_R_.abc.def",
            "inbox.alice.1",
            "acme.inbox.ä.1",
            "replies",
        ] {
            assert_eq!(check(reply), Ok(()), "{reply}");
        }
        assert_eq!(check(&"a".repeat(MAX_LEN)), Ok(()));
    }

    #[test]
    fn others_do_not() {
        let long = format!("_INBOX.{}", "a".repeat(MAX_LEN));
        for (reply, why) in [
            (&*long, Refused::TooLong),
            ("", Refused::Malformed),
            (">", Refused::Malformed),
            ("_INBOX.>", Refused::Malformed),
            ("_INBOX.*.a", Refused::Malformed),
            (".a", Refused::Malformed),
            ("a.", Refused::Malformed),
            ("a..b", Refused::Malformed),
            ("a b", Refused::Malformed),
            ("a\u{7f}", Refused::Malformed),
            ("a\0", Refused::Malformed),
            ("$SRV.PING", Refused::Api),
            ("$JS.API.STREAM.DELETE.orders", Refused::Api),
            ("$JS.ACK.orders.c.1.2.3.4.5", Refused::Api),
            ("nmfw.calc.Add", Refused::Service),
            ("acme.calc._open", Refused::Service),
            ("acme.calc._i.X.s.1", Refused::Service),
            ("acme.calc._m.Add.X.1", Refused::Service),
            ("acme.calc._health", Refused::Service),
            ("acme.calc._schema", Refused::Service),
        ] {
            assert_eq!(check(reply), Err(why), "{reply}");
        }
    }

    #[test]
    fn subjects_of_services_are_refused_while_they_are_there() {
        let reply = "reply-subject-test.shop.Buy";
        assert_eq!(check(reply), Ok(()));
        let (first, second) = (
            OwnBase::new("reply-subject-test.shop"),
            OwnBase::new("reply-subject-test.shop"),
        );
        assert_eq!(check(reply), Err(Refused::Service));
        assert_eq!(check("reply-subject-test.shop"), Err(Refused::Service));
        assert_eq!(check("reply-subject-test.shopping"), Ok(()));
        drop(first);
        assert_eq!(check(reply), Err(Refused::Service));
        drop(second);
        assert_eq!(check(reply), Ok(()));
    }

    #[test]
    fn sessions_are_below_the_service_that_was_called() {
        for (reply, open, expected) in [
            ("a.b._i.X.s.1", "a.b._open", Ok(())),
            ("a.b._m.Add.X.1", "a.b.Add", Ok(())),
            ("a.b._i.X.s.1", "a.b._i.X.m._open", Ok(())),
            ("a.b._m.Add.X.1", "a.b._i.X.m.Add", Ok(())),
            ("a.c._i.X.s.1", "a.b._i.X.m._open", Err(Refused::NoSession)),
            ("_R_.x.y", "a.b._open", Ok(())),
            ("a.b.Add", "a.b._open", Err(Refused::NoSession)),
            ("a.c._i.X.s.1", "a.b._open", Err(Refused::NoSession)),
            ("a.bc._i.X.s.1", "a.b._open", Err(Refused::NoSession)),
            ("_INBOX.x", "a.b._open", Err(Refused::NoSession)),
            ("$JS.API.INFO", "a.b._open", Err(Refused::NoSession)),
            ("a.b._i.>", "a.b._open", Err(Refused::Malformed)),
        ] {
            assert_eq!(check_session(reply, open), expected, "{reply} {open}");
        }
    }

    #[test]
    fn sessions_that_are_over_are_at_services() {
        for (reply, expected) in [
            ("a.b._i.X.s.1", true),
            ("a.b._m.Add.X.1", true),
            ("_R_.x.y", true),
            ("a.b.Add", false),
            ("a.b._open", false),
            ("_INBOX._i.s.1", false),
            ("$JS.API._i", false),
            ("a.b._i.>", false),
        ] {
            assert_eq!(admits_session("a test", reply), expected, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_a_nats_subject(reply in "\\PC{0,9}[.*>$_ \\x00-\\x20]{0,2}\\PC{0,9}") {
            if check(&reply).is_ok() {
                prop_assert!(async_nats::Subject::from(reply).is_valid());
            }
        }
    }
}
