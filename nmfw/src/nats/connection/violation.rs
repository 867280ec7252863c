//! nats-server's permission violations, which are sent only as text and so have to be parsed.

/// A denied permission.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Violation {
    Publish {
        subject: String,
    },
    Reply {
        reply: String,
    },
    Subscribe {
        subject: String,
        queue: Option<String>,
    },
}

const PREFIX: &str = "permissions violation for ";

impl Violation {
    /// Parses the text of an `-ERR`. Words are matched ignoring case; the subject is taken
    /// literally.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let rest = strip_prefix_ignore_case(text, PREFIX)?;
        if let Some(rest) = strip_prefix_ignore_case(rest, "publish to ") {
            let (subject, _) = quoted(rest)?;
            return Some(Self::Publish { subject });
        }
        if let Some(rest) = strip_prefix_ignore_case(rest, "publish with reply of ") {
            let (reply, _) = quoted(rest)?;
            return Some(Self::Reply { reply });
        }
        let rest = strip_prefix_ignore_case(rest, "subscription to ")?;
        let (subject, rest) = quoted(rest)?;
        let queue = strip_prefix_ignore_case(rest.trim_start(), "using queue ")
            .and_then(quoted)
            .map(|(queue, _)| queue);
        Some(Self::Subscribe { subject, queue })
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

/// Splits off a leading double-quoted string in the format of Go's `%q`, in which quotes and
/// backslashes are escaped with a backslash. Other escapes are left unchanged, because valid
/// subjects do not need them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &body[at + 1..])),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(subject: &str) -> Option<Violation> {
        Some(Violation::Publish {
            subject: subject.to_owned(),
        })
    }

    fn subscribe(subject: &str, queue: Option<&str>) -> Option<Violation> {
        Some(Violation::Subscribe {
            subject: subject.to_owned(),
            queue: queue.map(str::to_owned),
        })
    }

    #[test]
    fn the_servers_words() {
        let parse = Violation::parse;
        assert_eq!(
            parse(r#"Permissions Violation for Publish to "foo.Bar""#),
            publish("foo.Bar")
        );
        assert_eq!(
            parse(r#"Permissions Violation for Publish with Reply of "_INBOX.x""#),
            Some(Violation::Reply {
                reply: "_INBOX.x".to_owned()
            })
        );
        assert_eq!(
            parse(r#"Permissions Violation for Subscription to "foo.>""#),
            subscribe("foo.>", None)
        );
        assert_eq!(
            parse(r#"Permissions Violation for Subscription to "foo" using queue "q""#),
            subscribe("foo", Some("q"))
        );
    }

    #[test]
    fn other_case_and_odd_subjects() {
        let parse = Violation::parse;
        assert_eq!(
            parse(r#"  permissions violation for publish to "A" "#),
            publish("A")
        );
        assert_eq!(
            parse(r#"Permissions Violation for Publish to "a\"b\\c\x00""#),
            publish(r#"a"b\c\x00"#)
        );
        assert_eq!(
            parse(r#"Permissions Violation for Subscription to "a" using queue q"#),
            subscribe("a", None)
        );
    }

    #[test]
    fn anything_else_is_not_a_violation() {
        for text in [
            "",
            "Permissions Violation",
            "Permissions Violation for ",
            "Permissions Violation for Publish to foo",
            "Permissions Violation for Publish to \"foo",
            "Permissions Violation for Publish to \"foo\\",
            "permissions violation for püblish to \"foo\"",
            "Stale Connection",
        ] {
            assert_eq!(Violation::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "(Permissions Violation for (Publish|Subscription) to )?.*") {
            _ = Violation::parse(&text);
        }
    }
}
