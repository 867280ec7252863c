//! The client half of the NATS text protocol, without I/O: bytes in, operations out.
//!
//! [`parse`] looks at the front of a read buffer and keeps no state between calls, so the result
//! cannot depend on how the bytes were split. It accepts the same input as nats-server and reports
//! the same errors.

use memchr::memchr;

/// Maximum length of a protocol line's arguments, as in nats-server.
pub(crate) const MAX_CONTROL_LINE: usize = 4096;

/// The limits of a connection, which decide whether an operation is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest payload, headers included.
    pub(crate) max_payload: usize,
    /// Whether the client announced support for headers, which HPUB requires.
    pub(crate) headers: bool,
}

/// One operation of a client. Everything borrows from the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    /// The JSON text of a CONNECT.
    Connect(&'a [u8]),
    Ping,
    Pong,
    Publish(Publish<'a>),
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    /// `max` is `None` for "now", which nats-server also assumes for a number that it cannot read.
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
    /// Operations of a client without a meaning for a server: `+OK`, `INFO {}`.
    Ignored,
}

/// A PUB or HPUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) reply: Option<&'a [u8]>,
    /// Length of the headers at the start of `body`; at most `body.len()`.
    pub(crate) header_len: usize,
    /// Headers and payload, verbatim.
    pub(crate) body: &'a [u8],
}

/// The outcome of parsing the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// An operation, and the number of bytes it took.
    Op(Op<'a>, usize),
    /// No complete operation yet; the buffer has to hold this many bytes before the next attempt.
    /// The number exceeds the current length, and is bounded by the control line and payload
    /// limits.
    Need(usize),
}

/// The reason for which a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("unknown protocol operation")]
    UnknownOperation,
    #[error("maximum control line exceeded")]
    ControlLine,
    #[error("maximum payload violation")]
    MaxPayload,
    /// A known operation with invalid arguments.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

impl ParseError {
    /// Returns the error that the client gets before the connection closes, in nats-server's words.
    /// There is none for malformed arguments.
    pub(crate) fn wire_text(self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation => Some("Unknown Protocol Operation"),
            Self::ControlLine => Some("maximum control line exceeded"),
            Self::MaxPayload => Some("Maximum Payload Violation"),
            Self::Malformed(_) => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Ping,
    Pong,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ok,
    Err,
    Info,
}

const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"CONNECT", Verb::Connect),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
    (b"INFO", Verb::Info),
];

impl Verb {
    /// Returns whether a space or tab has to follow: `PINGxyz` is a PING and `CONNECT{}` a CONNECT.
    fn needs_separator(self) -> bool {
        !matches!(self, Self::Connect | Self::Ping | Self::Pong | Self::Ok)
    }
}

/// Parses the operation at the front of `buf`.
///
/// A wrong verb is an error at its first wrong byte, so that, for example, an HTTP client is
/// refused at once instead of after a timeout.
pub(crate) fn parse<'a>(buf: &'a [u8], limits: &Limits) -> Result<Step<'a>, ParseError> {
    let Some((verb, at)) = verb(buf)? else {
        return Ok(Step::Need(buf.len() + 1));
    };
    let rest = buf.get(at..).unwrap_or_default();
    if verb.needs_separator() && !rest.first().is_none_or(|b| is_blank(*b)) {
        return Err(ParseError::UnknownOperation);
    }
    let Some(end) = memchr(b'\n', rest) else {
        // A line of exactly the limit may be followed by a line ending and a separator.
        if rest.len() > MAX_CONTROL_LINE + 2 {
            return Err(ParseError::ControlLine);
        }
        return Ok(Step::Need(buf.len() + 1));
    };
    let line = rest.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if verb.needs_separator() && line.is_empty() {
        return Err(ParseError::UnknownOperation);
    }
    let args = line
        .get(usize::from(verb.needs_separator())..)
        .unwrap_or_default();
    if args.len() > MAX_CONTROL_LINE {
        return Err(ParseError::ControlLine);
    }
    let after = at + end + 1;
    let op = match verb {
        Verb::Pub => return publish(buf, after, args, false, limits),
        Verb::Hpub => return publish(buf, after, args, true, limits),
        Verb::Sub => match Args::split(args, is_blank_or_cr).as_slice() {
            [subject, sid] => Op::Subscribe {
                subject,
                queue: None,
                sid,
            },
            [subject, queue, sid] => Op::Subscribe {
                subject,
                queue: Some(queue),
                sid,
            },
            _ => return Err(ParseError::Malformed("SUB")),
        },
        Verb::Unsub => match Args::split(args, is_blank_or_cr).as_slice() {
            [sid] => Op::Unsubscribe { sid, max: None },
            [sid, max] => Op::Unsubscribe {
                sid,
                max: size(max).map(|n| n as u64),
            },
            _ => return Err(ParseError::Malformed("UNSUB")),
        },
        Verb::Connect => Op::Connect(args.trim_ascii()),
        Verb::Ping => Op::Ping,
        Verb::Pong => Op::Pong,
        Verb::Ok => Op::Ignored,
        Verb::Info if args.trim_ascii().starts_with(b"{") => Op::Ignored,
        Verb::Info => return Err(ParseError::Malformed("INFO")),
        // A client that reports an error is disconnected, as in nats-server.
        Verb::Err => return Err(ParseError::Malformed("-ERR")),
    };
    Ok(Step::Op(op, after))
}

/// Returns the verb at the front of `buf` and its end, or `None` while it is incomplete.
fn verb(buf: &[u8]) -> Result<Option<(Verb, usize)>, ParseError> {
    let mut possible = false;
    for (name, verb) in VERBS {
        let n = name.len().min(buf.len());
        let same = buf.iter().zip(name).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if same && n == name.len() {
            return Ok(Some((verb, n)));
        }
        possible |= same;
    }
    if possible {
        Ok(None)
    } else {
        Err(ParseError::UnknownOperation)
    }
}

fn publish<'a>(
    buf: &'a [u8],
    start: usize,
    args: &'a [u8],
    with_headers: bool,
    limits: &Limits,
) -> Result<Step<'a>, ParseError> {
    let malformed = ParseError::Malformed(if with_headers { "HPUB" } else { "PUB" });
    if with_headers && !limits.headers {
        return Err(malformed);
    }
    let args = Args::split(args, is_blank);
    let (subject, reply, header_len, total) = match (with_headers, args.as_slice()) {
        (false, [subject, total]) => (*subject, None, Some(0), size(total)),
        (false, [subject, reply, total]) => (*subject, Some(*reply), Some(0), size(total)),
        (true, [subject, headers, total]) => (*subject, None, size(headers), size(total)),
        (true, [subject, reply, headers, total]) => {
            (*subject, Some(*reply), size(headers), size(total))
        }
        _ => return Err(malformed),
    };
    let (Some(header_len), Some(total)) = (header_len, total) else {
        return Err(malformed);
    };
    if header_len > total {
        return Err(malformed);
    }
    // Check the size before waiting for the payload, to save its memory.
    if total > limits.max_payload {
        return Err(ParseError::MaxPayload);
    }
    let end = start + total;
    // A wrong ending is an error at its first wrong byte, without waiting for the next line.
    let wrong =
        buf.get(end).is_some_and(|b| *b != b'\r') || buf.get(end + 1).is_some_and(|b| *b != b'\n');
    if wrong {
        return Err(ParseError::UnknownOperation);
    }
    match buf.get(start..end) {
        Some(body) if buf.len() >= end + 2 => {
            let publish = Publish {
                subject,
                reply,
                header_len,
                body,
            };
            Ok(Step::Op(Op::Publish(publish), end + 2))
        }
        _ => Ok(Step::Need((buf.len() + 1).max(end + 1))),
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// Returns whether an argument of SUB or UNSUB ends at `b`. Unlike PUB, these also split at a
/// carriage return, as in nats-server.
fn is_blank_or_cr(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r')
}

/// The arguments of a line. No operation takes more than four, so longer lines are kept up to the
/// fifth.
struct Args<'a> {
    args: [&'a [u8]; 5],
    len: usize,
}

impl<'a> Args<'a> {
    fn split(line: &'a [u8], separator: fn(u8) -> bool) -> Self {
        let mut args: [&[u8]; 5] = [&[]; 5];
        let words = line
            .split(|b| separator(*b))
            .filter(|word| !word.is_empty());
        let mut len = 0;
        for (slot, word) in args.iter_mut().zip(words) {
            *slot = word;
            len += 1;
        }
        Self { args, len }
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        self.args.get(..self.len).unwrap_or_default()
    }
}

/// Parses a number of at most nine digits. nats-server treats longer ones as invalid, which means
/// "now" for UNSUB; the lossless drain of nmfw relies on that.
fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0'))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        max_payload: 1024,
        headers: true,
    };

    /// Feeds `pieces` to the parser and returns the operations, formatted, and the error.
    ///
    /// This mirrors what a connection does, and checks that the parser never requests more than the
    /// limits.
    fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<String>, Option<ParseError>) {
        let (mut buf, mut ops, mut need) = (Vec::new(), Vec::new(), 1);
        for piece in pieces {
            buf.extend_from_slice(piece);
            while buf.len() >= need {
                match parse(&buf, &LIMITS) {
                    Ok(Step::Op(op, len)) => {
                        ops.push(format!("{op:?}"));
                        assert!(len > 0 && len <= buf.len());
                        buf.drain(..len);
                        need = 1;
                    }
                    Ok(Step::Need(n)) => {
                        assert!(n > buf.len());
                        assert!(n <= MAX_CONTROL_LINE + 16 + LIMITS.max_payload + 2);
                        need = n;
                    }
                    Err(e) => return (ops, Some(e)),
                }
            }
        }
        (ops, None)
    }

    fn whole(bytes: &[u8]) -> (Vec<String>, Option<ParseError>) {
        feed([bytes])
    }

    #[test]
    fn reads_every_operation() {
        let publish = Publish {
            subject: b"a",
            reply: Some(b"b"),
            header_len: 0,
            body: b"hi",
        };
        let cases: [(&[u8], Op<'_>); 12] = [
            (b"CONNECT {}\r\n", Op::Connect(b"{}")),
            (b"connect{}\n", Op::Connect(b"{}")),
            (b"PING\r\n", Op::Ping),
            (b"pOnG and more\r\n", Op::Pong),
            (b"PUB a b 2\r\nhi\r\n", Op::Publish(publish)),
            (b"HPUB a b 0 2\nhi\r\n", Op::Publish(publish)),
            (b"PUB\t a  b\t2 \r\nhi\r\n", Op::Publish(publish)),
            (
                b"SUB a 1\r\n",
                Op::Subscribe {
                    subject: b"a",
                    queue: None,
                    sid: b"1",
                },
            ),
            (
                b"SUB a q 1\r\n",
                Op::Subscribe {
                    subject: b"a",
                    queue: Some(b"q"),
                    sid: b"1",
                },
            ),
            (
                b"UNSUB 1\r\n",
                Op::Unsubscribe {
                    sid: b"1",
                    max: None,
                },
            ),
            (
                b"UNSUB 1 7\r\n",
                Op::Unsubscribe {
                    sid: b"1",
                    max: Some(7),
                },
            ),
            (b"+OK\r\n", Op::Ignored),
        ];
        for (bytes, op) in cases {
            assert_eq!(
                parse(bytes, &LIMITS),
                Ok(Step::Op(op, bytes.len())),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn an_unsubscribe_count_of_ten_digits_means_now() {
        for (text, max) in [
            ("999999999", Some(999_999_999)),
            ("9999999999", None),
            ("x", None),
        ] {
            let line = format!("UNSUB 1 {text}\r\n");
            let op = Op::Unsubscribe { sid: b"1", max };
            assert_eq!(
                parse(line.as_bytes(), &LIMITS),
                Ok(Step::Op(op, line.len()))
            );
        }
    }

    #[test]
    fn errors_come_as_early_as_they_can() {
        use ParseError::*;
        let cases: [(&[u8], ParseError); 16] = [
            (b"G", UnknownOperation),
            (b" ", UnknownOperation),
            (b"\r\n", UnknownOperation),
            (b"PUBX", UnknownOperation),
            (b"PUB\r", UnknownOperation),
            (b"PUB a\r\n", Malformed("PUB")),
            (b"PUB a -1\r\n", Malformed("PUB")),
            (b"PUB a 1234567890\r\n", Malformed("PUB")),
            (b"PUB a b 1 2\r\n", Malformed("PUB")),
            (b"PUB a 1025\r\n", MaxPayload),
            (b"PUB a 2\r\nhix", UnknownOperation),
            (b"PUB a 2\r\nhi\rx", UnknownOperation),
            (b"HPUB a 3 2\r\n", Malformed("HPUB")),
            (b"SUB a b c d\r\n", Malformed("SUB")),
            (b"UNSUB \r\n", Malformed("UNSUB")),
            (b"-ERR 'no'\r\n", Malformed("-ERR")),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                parse(bytes, &LIMITS),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let no_headers = Limits {
            headers: false,
            ..LIMITS
        };
        assert_eq!(
            parse(b"HPUB a 0 0\r\n\r\n", &no_headers),
            Err(Malformed("HPUB"))
        );
    }

    #[test]
    fn a_control_line_has_a_limit() {
        let line = |n: usize| format!("PUB {} 0\r\n\r\n", "a".repeat(n - 2));
        assert_eq!(whole(line(MAX_CONTROL_LINE).as_bytes()).1, None);
        assert_eq!(
            whole(line(MAX_CONTROL_LINE + 1).as_bytes()).1,
            Some(ParseError::ControlLine)
        );
        let endless = [b"SUB ".to_vec(), vec![b'a'; 2 * MAX_CONTROL_LINE]].concat();
        assert_eq!(whole(&endless).1, Some(ParseError::ControlLine));
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9_.*>$-]{1,20}"
    }

    fn operation() -> impl Strategy<Value = Vec<u8>> {
        let body = proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            Just(b"PING\r\n".to_vec()),
            Just(b"pong\r\n".to_vec()),
            Just(b"CONNECT {\"verbose\":false}\r\n".to_vec()),
            (word(), word()).prop_map(|(s, id)| format!("SUB {s} {id}\r\n").into_bytes()),
            (word(), word(), word())
                .prop_map(|(s, q, id)| format!("SUB\t{s} {q}  {id}\n").into_bytes()),
            (word(), 0..2_000_000_000u64)
                .prop_map(|(id, n)| format!("UNSUB {id} {n}\r\n").into_bytes()),
            (word(), body.clone()).prop_map(|(s, body)| {
                [
                    format!("PUB {s} {}\r\n", body.len()).as_bytes(),
                    &body,
                    b"\r\n",
                ]
                .concat()
            }),
            (word(), word(), body, 0..=100usize).prop_map(|(s, r, body, percent)| {
                let headers = body.len() * percent / 100;
                let line = format!("HPUB {s} {r} {headers} {}\r\n", body.len());
                [line.as_bytes(), &body, b"\r\n"].concat()
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_operations(
            ops in proptest::collection::vec(operation(), 1..12),
            sizes in proptest::collection::vec(1..40usize, 1..20),
        ) {
            let bytes = ops.concat();
            let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, more) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            let (found, error) = whole(&bytes);
            prop_assert_eq!(error, None);
            prop_assert_eq!(found.len(), ops.len());
            prop_assert_eq!(feed(pieces), (found, None));
        }

        #[test]
        fn garbage_neither_panics_nor_asks_for_endless_input(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            verb in prop_oneof![
                Just(""), Just("PUB "), Just("HPUB a "), Just("SUB "), Just("PING"), Just("CONNECT")
            ],
            piece in 1..20usize,
        ) {
            let bytes = [verb.as_bytes(), &bytes].concat();
            prop_assert_eq!(feed(bytes.chunks(piece)), whole(&bytes));
        }
    }
}
