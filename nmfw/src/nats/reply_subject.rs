//! Which subjects that a peer names are published to.
//!
//! A service publishes an answer with its own permissions to a subject that the peer has chosen. Without
//! a check a peer could have the service call itself, another service or an API of NATS, or lose its
//! connection over a line that is too long. Answers go to inboxes only. A client chooses what its inboxes
//! are called (`_INBOX.>` by default), so the check refuses what is no inbox:
//!
//! - what is not a subject, and what has wildcards;
//! - more than [`MAX_LEN`] bytes: a NATS server ends connections whose control lines have more than 4096
//!   bytes (`max_control_line`, which it does not announce), and a packet's line has a reply subject, too;
//! - what begins with `$`: discovery, JetStream with its acknowledgements, and other APIs of NATS;
//! - what is below `nmfw.`, where services are by default, or below the base subject of any service of
//!   this process;
//! - what has `_open`, `_health`, `_i` or `_m` for a token, as subjects of services elsewhere have, unless
//!   the first token begins with `_`: no service's does.
//!
//! Mappings between accounts (`_R_.>`) pass. Everything else that a service may publish to is for NATS
//! permissions to say.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use nmfw_core::{escape::Escaped, log_limit::LogLimit, observe::metrics};

/// Longest subject of a peer that is published to, in bytes.
const MAX_LEN: usize = 1024;

/// What the base subjects of services begin with by default.
const SERVICES: &str = "nmfw.";

/// Subjects of account mappings.
pub(crate) const MAPPED: &str = "_R_.";

/// Tokens of services that no inbox has.
const RESERVED: [&str; 4] = ["_open", "_health", "_i", "_m"];

/// The base subjects of the services of this process.
static BASES: RwLock<Vec<Arc<str>>> = RwLock::new(Vec::new());

/// Log lines of subjects that were refused.
static REFUSED: LogLimit = LogLimit::new();

/// Why nothing is published to a subject. Reads as the end of a sentence.
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
            Self::Malformed => "it is not a subject to publish to",
            Self::Api => "it begins with '$', as those of NATS itself do",
            Self::Service => "it is a service's, and no inbox",
            Self::NoSession => "it is not where that service's sessions are",
        })
    }
}

/// Keeps peers from naming the subjects of a service, while it is there.
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

/// Checks a reply subject of a request, whatever it asks for.
pub(crate) fn check(reply: &str) -> Result<(), Refused> {
    check_form(reply)?;
    match reply.as_bytes().first() {
        Some(b'$') => return Err(Refused::Api),
        // An inbox, nearly always: no service's base begins like this.
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

/// Whether an answer may be published to `reply`. If not, this is counted, and logged once in a while.
pub(crate) fn admits(what: &'static str, reply: &str) -> bool {
    match check(reply) {
        Ok(()) => true,
        Err(why) => {
            refuse(what, reply, why);
            false
        }
    }
}

/// Checks the subject that a service has named for a session's packets, which was opened on `open`: the
/// service's `_open`, or a method's subject.
pub(crate) fn check_session(reply: &str, open: &str) -> Result<(), Refused> {
    let checked = check_form(reply).and_then(|()| {
        let base = open.rsplit_once('.').map_or(open, |(base, _)| base);
        let own = reply.strip_prefix(base);
        let is_own = own.is_some_and(|own| own.starts_with("._i.") || own.starts_with("._m."));
        match is_own || reply.starts_with(MAPPED) {
            true => Ok(()),
            false => Err(Refused::NoSession),
        }
    });
    checked.inspect_err(|why| refuse("ACCEPT of a session", reply, *why))
}

/// Whether `reply` is of the form of the subjects that services name for packets of sessions: of one that is
/// over it is not known any more which service it was with. If not, this is counted, and logged once in
/// a while.
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
            "dropped: its reply subject is none that a peer may name"
        );
    }
}

/// Checks what holds for all subjects that are published to. In one pass, as each request has one.
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
